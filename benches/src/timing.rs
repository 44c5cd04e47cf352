//! Comparative timing: the compared subjects run alternately in the same process, many times, so
//! that temporary slowness of the machine affects all of them.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// An allocator that counts allocations.
pub struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: it only counts, and forwards all calls to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Number of allocations of some work.
pub fn allocations<T>(work: impl FnOnce() -> T) -> u64 {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    std::hint::black_box(work());
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

/// A timed subject; `work` receives the number of its runs in this round.
pub struct Subject<'a> {
    pub name: String,
    pub work: Box<dyn FnMut(usize) + 'a>,
    /// Runs per round.
    pub times: usize,
}

impl<'a> Subject<'a> {
    pub fn new(name: &str, times: usize, work: impl FnMut(usize) + 'a) -> Self {
        Self {
            name: name.to_owned(),
            work: Box::new(work),
            times,
        }
    }
}

/// Median time of one run in seconds, and median ratio to the first subject in the same round.
pub struct Timed {
    pub name: String,
    pub seconds: f64,
    pub ratio: f64,
}

pub fn compare(rounds: usize, mut subjects: Vec<Subject<'_>>) -> Vec<Timed> {
    let mut taken = vec![Vec::new(); subjects.len()];
    for _ in 0..rounds {
        for (subject, taken) in subjects.iter_mut().zip(&mut taken) {
            let start = Instant::now();
            for at in 0..subject.times {
                (subject.work)(at);
            }
            taken.push(start.elapsed().as_secs_f64() / subject.times as f64);
        }
    }
    let floor = taken[0].clone();
    let rows = subjects.iter().zip(&taken);
    rows.map(|(subject, taken)| Timed {
        name: subject.name.clone(),
        seconds: middle(taken.clone()),
        ratio: middle(
            taken
                .iter()
                .zip(&floor)
                .map(|(one, floor)| one / floor)
                .collect(),
        ),
    })
    .collect()
}

pub fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The given percentile of sorted values.
pub fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let at = (sorted.len() as f64 * percent / 100.0) as usize;
    sorted[at.min(sorted.len() - 1)]
}
