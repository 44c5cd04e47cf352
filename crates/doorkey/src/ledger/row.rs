//! Reads and converts column values. An unreadable value is an error, never a panic.

use sqlx::any::AnyRow;
use sqlx::{ColumnIndex, Decode, Row, Type};

use crate::IssuerError;
use doorward_protocol::wire::{Bytes, MAX_TIMESTAMP, Timestamp};

/// The value of a column.
pub(crate) fn get<'r, T>(row: &'r AnyRow, column: &str) -> Result<T, IssuerError>
where
    T: Decode<'r, sqlx::Any> + Type<sqlx::Any>,
    for<'c> &'c str: ColumnIndex<AnyRow>,
{
    Ok(row.try_get(column)?)
}

/// A text column, parsed with `FromStr`.
pub(crate) fn parsed<T: std::str::FromStr>(row: &AnyRow, column: &str) -> Result<T, IssuerError> {
    let text: String = get(row, column)?;
    text.parse().map_err(|_| unreadable(column))
}

/// A nullable text column, parsed with `FromStr`.
pub(crate) fn parsed_option<T: std::str::FromStr>(
    row: &AnyRow,
    column: &str,
) -> Result<Option<T>, IssuerError> {
    let text: Option<String> = get(row, column)?;
    let read = |text: String| text.parse().map_err(|_| unreadable(column));
    text.map(read).transpose()
}

/// A text column of hexadecimal digits.
pub(crate) fn hex<const N: usize>(row: &AnyRow, column: &str) -> Result<Bytes<N>, IssuerError> {
    let text: String = get(row, column)?;
    Bytes::from_hex(&text).ok_or_else(|| unreadable(column))
}

/// A non-negative integer column.
pub(crate) fn u64_col(row: &AnyRow, column: &str) -> Result<u64, IssuerError> {
    let value: i64 = get(row, column)?;
    u64::try_from(value).map_err(|_| unreadable(column))
}

/// A non-negative integer column of 32 bits.
pub(crate) fn u32_col(row: &AnyRow, column: &str) -> Result<u32, IssuerError> {
    u32::try_from(u64_col(row, column)?).map_err(|_| unreadable(column))
}

/// A time column, in seconds since 1970.
pub(crate) fn time(row: &AnyRow, column: &str) -> Result<Timestamp, IssuerError> {
    Ok(Timestamp(u64_col(row, column)?))
}

/// A nullable time column.
pub(crate) fn time_option(row: &AnyRow, column: &str) -> Result<Option<Timestamp>, IssuerError> {
    let value: Option<i64> = get(row, column)?;
    let read = |value| {
        u64::try_from(value)
            .map(Timestamp)
            .map_err(|_| unreadable(column))
    };
    value.map(read).transpose()
}

/// Converts a time to its column value.
pub(crate) fn seconds(time: Timestamp) -> i64 {
    i64::try_from(time.0.min(MAX_TIMESTAMP)).unwrap_or(i64::MAX)
}

/// Converts a number to its column value; values above `i64::MAX` saturate.
pub(crate) fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The error for a value that cannot be read.
pub(crate) fn unreadable(column: &str) -> IssuerError {
    IssuerError::Rule(format!(
        "The database contains an unreadable value in column `{column}`. Restore a backup."
    ))
}
