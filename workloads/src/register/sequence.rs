//! Sequential nodes: every session makes some below one parent, and the end of the run lists them.

use std::sync::atomic::Ordering::Relaxed;

use serde_json::json;
use zookeeper_client::{Acls, Client, CreateMode, Error};

use super::lane::Board;
use super::session::within;

/// Of a run: a listing of more would be large for one answer (`jute.maxbuffer` is 1 MiB).
const NODES_MAX: i64 = 20_000;
const PARENT: &str = "s";
const NAME: &str = "n-";

impl Board {
    pub(super) fn sequence(&self) -> String {
        self.below(PARENT)
    }
}

/// Makes one more, unless there are enough. One that is not answered is nobody's: what became of it is not told.
pub(super) async fn make(board: &Board, client: &Client) -> Result<Option<i64>, Error> {
    let ask = board.next_sequential.fetch_add(1, Relaxed);
    if ask >= NODES_MAX {
        return Ok(None);
    }
    let options = CreateMode::PersistentSequential.with_acls(Acls::anyone_all());
    let path = format!("{}/{NAME}", board.sequence());
    board.tell("sequential", json!({"parent": PARENT, "event": "asked", "ask": ask}));
    let (stat, sequence) = within(client.create(&path, b"", &options)).await?;
    let told = json!({"parent": PARENT, "event": "created", "ask": ask, "number": sequence.into_i64(), "zxid": stat.czxid});
    board.tell("sequential", told);
    Ok(Some(stat.czxid))
}

/// All that are there, as of the last change below their parent that this session's server has heard of.
pub(super) async fn list(board: &Board, client: &Client) -> Result<(), Error> {
    let path = board.sequence();
    within(client.sync(&path)).await?;
    let (children, stat) = within(client.get_children(&path)).await?;
    let numbers: Vec<i64> = children.iter().filter_map(|name| number(name)).collect();
    board.tell("sequential", json!({"parent": PARENT, "event": "listed", "zxid": stat.pzxid, "numbers": numbers}));
    Ok(())
}

/// Its digits may be more than the ten that are usual.
fn number(name: &str) -> Option<i64> {
    name.strip_prefix(NAME)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_number_whatever_its_width_and_others_are_none_of_ours() {
        assert_eq!(number("n-0000000017"), Some(17));
        assert_eq!(number("n-0000000004294967296"), Some(4_294_967_296));
        assert_eq!((number("m-0000000017"), number("n-x")), (None, None));
    }
}
