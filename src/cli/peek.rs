//! Flags of `kchaos peek`.

use clap::Args;

use super::{Format, InventoryArg};

#[derive(Debug, Args)]
pub(crate) struct PeekArgs {
    /// A partition: its topic, a colon, its number
    #[arg(value_name = "TOPIC:PARTITION", value_parser = place)]
    pub(crate) place: (String, i32),
    /// Where to begin: an offset, `earliest`, or -N for N offsets before the end
    #[arg(long, value_name = "OFFSET", default_value = "-10", allow_hyphen_values = true, value_parser = from)]
    pub(crate) from: From,
    /// How many records are shown at most
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) count: usize,
    /// So many bytes of a key or a value are shown; 0 for all
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) width: usize,
    #[command(flatten)]
    pub(crate) inventory: InventoryArg,
    #[arg(long, default_value = "text")]
    pub(crate) format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Earliest,
    Offset(i64),
    BeforeEnd(i64),
}

fn place(text: &str) -> Result<(String, i32), String> {
    let wrong = || format!("\"{text}\" is not TOPIC:PARTITION, as in orders:0");
    let (topic, partition) = text.rsplit_once(':').ok_or_else(wrong)?;
    let partition = partition.parse().ok().filter(|partition| *partition >= 0).ok_or_else(wrong)?;
    if topic.is_empty() { Err(wrong()) } else { Ok((topic.to_owned(), partition)) }
}

pub(crate) fn from(text: &str) -> Result<From, String> {
    let wrong = || format!("\"{text}\" is no place to begin: an offset (17), earliest, or -5 for 5 before the end");
    if text == "earliest" {
        return Ok(From::Earliest);
    }
    let number: i64 = text.parse().map_err(|_| wrong())?;
    Ok(if text.starts_with('-') { From::BeforeEnd(number.checked_neg().ok_or_else(wrong)?) } else { From::Offset(number) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_topic_and_a_partition_and_a_beginning_is_counted_from_either_end() {
        assert_eq!(place("a:b:3"), Ok(("a:b".to_owned(), 3)));
        for wrong in ["orders", ":0", "orders:x", "orders:-1"] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
        assert_eq!((from("earliest"), from("17"), from("-5")), (Ok(From::Earliest), Ok(From::Offset(17)), Ok(From::BeforeEnd(5))));
        assert!(from("latest").is_err());
    }
}
