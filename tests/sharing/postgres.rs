//! Every story again, on PostgreSQL.

use crate::postgres_server::Postgres;

use super::STORIES;
use super::world::{World, run};

#[test]
fn every_story_passes_on_postgresql_too() {
    let server = Postgres::start();
    run(async {
        for (at, (name, story)) in STORIES.iter().enumerate() {
            println!("{name}");
            let url = server.database(&format!("story_{at}")).await;
            let world = World::new(Some(&url)).await;
            let ledger = world.platform.ledger().clone();
            story(world).await;
            ledger.close().await;
        }
    });
}
