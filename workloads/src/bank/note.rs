//! What a record of the bank says beside the header that every record has.
//!
//! Why the versions: a reader of several partitions never sees all accounts at one moment. With the numbers of the last transfers of all of a process'
//! accounts, as of this one, it knows which records make up the moment, and whether it has read them.
//!
//! The bytes, big-endian: magic `KCB1` (4) · transfer (8) · balance (8) · how many versions (4) · versions (8 each).

const MAGIC: [u8; 4] = *b"KCB1";
const FIXED_BYTES: usize = 24;

/// An account's new balance, as of a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    /// Counts the transfers of the process that owns the account, from 1; those that came to nothing as well.
    pub(super) transfer: u64,
    pub(super) balance: i64,
    /// By account of the process: the last transfer that it had a part in.
    pub(super) versions: Vec<u64>,
}

impl Note {
    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.clear();
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.transfer.to_be_bytes());
        bytes.extend_from_slice(&self.balance.to_be_bytes());
        bytes.extend_from_slice(&(self.versions.len() as u32).to_be_bytes());
        self.versions.iter().for_each(|version| bytes.extend_from_slice(&version.to_be_bytes()));
    }

    /// `None`: no note of this many accounts stands there.
    pub(super) fn decode(bytes: &[u8], accounts: usize) -> Option<Self> {
        let (fixed, rest) = bytes.split_at_checked(FIXED_BYTES)?;
        let versions = rest.get(..accounts.checked_mul(8)?)?;
        if fixed[..4] != MAGIC || number(&fixed[16..]) as u32 as usize != accounts {
            return None;
        }
        let versions = versions.chunks_exact(8).map(number).collect();
        Some(Self { transfer: number(&fixed[4..12]), balance: number(&fixed[12..20]) as i64, versions })
    }
}

/// Of the last eight bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_and_of_another_bank_nothing(transfer: u64, balance: i64, versions in prop::collection::vec(any::<u64>(), 0..9)) {
            let note = Note { transfer, balance, versions };
            let mut bytes = Vec::new();
            note.encode(&mut bytes);
            bytes.extend_from_slice(b"padding");
            prop_assert_eq!(Note::decode(&bytes, note.versions.len()), Some(note.clone()));
            prop_assert_eq!(Note::decode(&bytes, note.versions.len() + 1), None);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, accounts in 0..9_usize) {
            let _ = Note::decode(&bytes, accounts);
        }
    }
}
