//! What makes a page usable by everybody, as rules that tests hold: by keyboard, by ear, without colour, in light and in dark, on paper, without a network.
//!
//! Each page that kchaos makes goes through [`page`] in the tests of its own module, and each style sheet through [`style::Sheet::hold`]. What no rule can see
//! (whether a sentence is understood, whether an order is the right one) is looked at by people, and docs/report.md says when that was.

mod rules;
mod scan;
pub(crate) mod style;

use scan::Page;

/// All rules at once, so that one look tells everything that is wrong.
#[track_caller]
pub(crate) fn page(name: &str, html: &str) {
    let wrong = rules::broken(&Page::of(html));
    assert!(wrong.is_empty(), "{name}:\n  {}", wrong.join("\n  "));
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
        <meta name=\"color-scheme\" content=\"light dark\"><title>x</title></head><body><a class=\"skip\" href=\"#content\">To the content</a>\
        <nav aria-label=\"Pages\"><a href=\"/\">Runs</a></nav><main id=\"content\"><h1>Runs</h1><h2>Of today</h2>BODY</main></body></html>";

    fn with(body: &str) -> Vec<String> {
        rules::broken(&Page::of(&GOOD.replace("BODY", body)))
    }

    #[test]
    fn a_page_that_is_as_it_should_be_breaks_no_rule() {
        let body = "<table><caption>c</caption><thead><tr><th scope=\"col\">a</th></tr></thead><tbody><tr><th scope=\"row\">1</th></tr></tbody></table>\
            <label>Since <input name=\"s\"></label><button>Show</button><svg role=\"img\" aria-label=\"p\"><svg><rect/></svg></svg>\
            <svg aria-hidden=\"true\"></svg><span class=\"bad\">✗ 3</span><div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"g\"></div>";
        assert_eq!(with(body), [""; 0]);
    }

    #[test]
    fn each_rule_sees_what_breaks_it() {
        for (body, expect) in [
            ("<table><tr><th scope=\"row\">1</th></tr></table>", "no caption"),
            ("<table><caption>c</caption><tr><th>1</th></tr></table>", "no scope"),
            ("<table><caption>c</caption><tbody><tr><td>1</td></tr></tbody></table>", "no head of its own"),
            ("<h4>x</h4>", "h4 after h2"),
            ("<h1>x</h1>", "2 h1"),
            ("<input name=\"s\">", "no label"),
            ("<button></button>", "no label"),
            ("<svg></svg>", "neither a name nor hidden"),
            ("<svg role=\"img\" aria-label=\"x\"><a href=\"/x\"><title>x</title></a></svg>", "can be reached within a picture"),
            ("<b id=\"content\"></b>", "id content twice"),
            ("<a href=\"#nowhere\">x</a>", "leads nowhere: #nowhere"),
            ("<a href=\"https://example.com/\">x</a>", "from elsewhere"),
            ("<a href=\"/x\"></a>", "a link without a word"),
            ("<div tabindex=\"0\"></div>", "no name or role"),
            ("<div tabindex=\"2\"></div>", "order of its own"),
            ("<iframe src=\"/x\"></iframe>", "a frame without a title"),
            ("<details><p>x</p></details>", "without a summary"),
            ("<span class=\"bad\">3</span>", "by colour alone"),
            ("<p><b>x</p>", "is not closed"),
            ("<nav><a href=\"/\">x</a></nav>", "several of nav without a name"),
            ("<rect fill=\"url(#gone)\"/>", "leads nowhere: #gone"),
            ("<p style=\"color:red\">x</p>", "a style of its own"),
        ] {
            let found = with(body);
            assert!(found.iter().any(|wrong| wrong.contains(expect)), "{body}: {found:?}");
        }
        let bare = rules::broken(&Page::of("<!doctype html><html><head></head><body></body></html>")).join("; ");
        for expect in ["no language", "no title", "no viewport", "0 h1", "0 main", "color-scheme"] {
            assert!(bare.contains(expect), "{expect}: {bare}");
        }
    }
}
