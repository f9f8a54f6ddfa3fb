//! The body for inventories.

use std::path::Path;

use kchaos_cluster::inventory::{Inventory, InventoryError};

/// Text as an inventory: all that is wrong has a place in it, and what is right is written and read back.
pub fn inventory(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let path = Path::new("kchaos.toml");
    match Inventory::parse(path, text) {
        Ok(inventory) => {
            let written = toml::to_string(&inventory).unwrap();
            let back = Inventory::parse(path, &written).unwrap_or_else(|error| panic!("{error}\n{written}"));
            assert_eq!(back, inventory);
        }
        Err(InventoryError::Invalid { problems }) => {
            assert!(!problems.is_empty());
            for problem in problems {
                let lines = text.split('\n').count();
                assert!((1..=lines).contains(&problem.line) && problem.column >= 1, "{problem:?} of {lines} lines");
                assert!(!problem.message.is_empty());
            }
        }
        Err(_) => {}
    }
}
