//! Tables of the pages: each says what it is a table of, and each column what stands in it.

use std::fmt::Write;

use crate::report::Esc;

pub(crate) const TABLE_END: &str = "</tbody></table></div>\n";

/// To the body. Of each column its name and its class; `unseen` and `picture` are names that are heard and not seen.
pub(crate) fn table_head(class: &str, caption: &str, columns: &[(&str, &str)]) -> String {
    let mut html = format!("<div class=\"wide\"><table class=\"{class}\"><caption>{}</caption><thead><tr>", Esc(caption));
    for (name, of) in columns {
        let _ = match *of {
            "" => write!(html, "<th scope=\"col\">{}</th>", Esc(name)),
            "unseen" | "picture" => {
                write!(html, "<th scope=\"col\" class=\"{of}-column\"><span class=\"unseen\">{}</span></th>", Esc(name))
            }
            of => write!(html, "<th scope=\"col\" class=\"{of}\">{}</th>", Esc(name)),
        };
    }
    html.push_str("</tr></thead><tbody>\n");
    html
}
