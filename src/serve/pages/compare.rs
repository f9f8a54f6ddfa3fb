//! Two runs side by side, or one and several of before.

use super::super::Site;
use super::super::address::Address;
use super::{Place, link_to, named, shell};
use crate::compare::{Comparison, FailOn, fragment};
use crate::runs::newest_first;

/// `?run=A&run=B`: the newest is held against the others. `?before=A&now=B` says which is which.
pub(in super::super) fn compared(site: &Site, address: &Address) -> Result<Comparison, String> {
    let find = |id: &String| site.store.run(id).ok_or_else(|| format!("there is no run {id}"));
    let ids = |name: &str| -> Vec<String> {
        address.query.iter().filter(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.clone()).collect()
    };
    let mut before = ids("before").iter().map(find).collect::<Result<Vec<_>, _>>()?;
    let mut chosen = ids("run").iter().map(find).collect::<Result<Vec<_>, _>>()?;
    newest_first(&mut chosen);
    let now = match ids("now").first() {
        Some(now) => find(now)?,
        None if !chosen.is_empty() => chosen.remove(0),
        None => return Err("Choose two runs or more in the list, or say ?before=A&now=B.".to_owned()),
    };
    before.extend(chosen);
    before.retain(|run| run.id != now.id);
    if before.is_empty() {
        return Err("There is only one run: choose another in the list to hold it against.".to_owned());
    }
    let limits = ids("fail-on")
        .iter()
        .map(|limit| limit.parse::<FailOn>().map_err(|error| format!("{limit}: {error}")))
        .collect::<Result<Vec<_>, _>>()?;
    let mut comparison = Comparison::of(before, now);
    comparison.hold(&limits)?;
    Ok(comparison)
}

pub(in super::super) fn page(site: &Site, address: &Address) -> Result<super::super::answer::Answer, String> {
    let comparison = compared(site, address)?;
    let content = fragment(&comparison, &|run| format!("<a href=\"{}\">{}</a>", link_to(run), named(run)));
    let html = format!("<h1>Compared with before: {}</h1>\n{content}", crate::report::Esc(super::what(&comparison.run)));
    Ok(super::super::answer::Answer::html(200, shell("Compared", Place::Elsewhere, None, &html)))
}
