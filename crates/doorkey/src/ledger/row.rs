//! Values as the ledger keeps them. What does not read is a fault of the ledger, never a panic.

use sqlx::any::AnyRow;
use sqlx::{ColumnIndex, Decode, Row, Type};

use crate::IssuerError;
use doorward_protocol::wire::{Bytes, MAX_TIMESTAMP, Timestamp};

/// A value of a row.
pub(crate) fn get<'r, T>(row: &'r AnyRow, column: &str) -> Result<T, IssuerError>
where
    T: Decode<'r, sqlx::Any> + Type<sqlx::Any>,
    for<'c> &'c str: ColumnIndex<AnyRow>,
{
    Ok(row.try_get(column)?)
}

/// Text that a type of ours reads.
pub(crate) fn parsed<T: std::str::FromStr>(row: &AnyRow, column: &str) -> Result<T, IssuerError> {
    let text: String = get(row, column)?;
    text.parse().map_err(|_| broken(column))
}

/// The same, or nothing.
pub(crate) fn parsed_option<T: std::str::FromStr>(
    row: &AnyRow,
    column: &str,
) -> Result<Option<T>, IssuerError> {
    let text: Option<String> = get(row, column)?;
    let read = |text: String| text.parse().map_err(|_| broken(column));
    text.map(read).transpose()
}

/// Bytes in hexadecimal digits.
pub(crate) fn hex<const N: usize>(row: &AnyRow, column: &str) -> Result<Bytes<N>, IssuerError> {
    let text: String = get(row, column)?;
    Bytes::from_hex(&text).ok_or_else(|| broken(column))
}

/// A number that is never negative.
pub(crate) fn u64_col(row: &AnyRow, column: &str) -> Result<u64, IssuerError> {
    let value: i64 = get(row, column)?;
    u64::try_from(value).map_err(|_| broken(column))
}

/// A number of 32 bits.
pub(crate) fn u32_col(row: &AnyRow, column: &str) -> Result<u32, IssuerError> {
    u32::try_from(u64_col(row, column)?).map_err(|_| broken(column))
}

/// A time.
pub(crate) fn time(row: &AnyRow, column: &str) -> Result<Timestamp, IssuerError> {
    Ok(Timestamp(u64_col(row, column)?))
}

/// A time, or none.
pub(crate) fn time_option(row: &AnyRow, column: &str) -> Result<Option<Timestamp>, IssuerError> {
    let value: Option<i64> = get(row, column)?;
    let read = |value| {
        u64::try_from(value)
            .map(Timestamp)
            .map_err(|_| broken(column))
    };
    value.map(read).transpose()
}

/// A time as it is kept.
pub(crate) fn seconds(time: Timestamp) -> i64 {
    i64::try_from(time.0.min(MAX_TIMESTAMP)).unwrap_or(i64::MAX)
}

/// A number as it is kept.
pub(crate) fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A value of the ledger cannot be read.
pub(crate) fn broken(column: &str) -> IssuerError {
    IssuerError::Rule(format!(
        "The ledger holds a {column} that cannot be read. Restore it from a copy."
    ))
}
