//! Lines over runs or over seconds, as SVG. Each line has a shape of its own beside its colour.

use std::fmt::Write;

use crate::report::Esc;

const WIDTH: f64 = 1_100.0;
const HEIGHT: f64 = 200.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 54.0;
const TOP: f64 = 10.0;
const LABELS_MAX: usize = 9;

/// One place on the axis below.
#[derive(Clone, Debug, Default)]
pub(super) struct Column {
    pub(super) label: String,
    pub(super) tip: String,
    pub(super) link: Option<String>,
    /// A sign and the class of its colour.
    pub(super) mark: Option<(&'static str, &'static str)>,
}

pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    pub(super) class: &'static str,
    /// One for each column.
    pub(super) values: Vec<Option<f64>>,
}

pub(super) struct Chart<'a> {
    /// For those who do not see it.
    pub(super) label: &'a str,
    pub(super) columns: &'a [Column],
    pub(super) lines: &'a [Line<'a>],
    pub(super) told: &'a dyn Fn(f64) -> String,
}

impl Chart<'_> {
    pub(super) fn draw(&self) -> String {
        let has_marks = self.columns.iter().any(|column| column.mark.is_some());
        let bottom = if has_marks { 42.0 } else { 24.0 };
        let height = HEIGHT + bottom;
        let most = self.lines.iter().flat_map(|line| line.values.iter().flatten()).copied().fold(0.0, f64::max);
        let top = round_up(most);
        let y = |value: f64| TOP + (HEIGHT - TOP) * (1.0 - value / top);
        let mut svg = format!(
            "<div class=\"wide\"><svg class=\"chart\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">",
            Esc(self.in_words())
        );
        for nth in 0..=4 {
            let value = top * f64::from(nth) / 4.0;
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text class=\"axis\" text-anchor=\"end\" x=\"{}\" y=\"{:.1}\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 8.0,
                y(value) + 4.0,
                Esc((self.told)(value)),
                at = y(value),
            );
        }
        self.below(&mut svg);
        let mut names = Vec::new();
        for line in self.lines {
            self.line(&mut svg, line, &y);
            if let Some(last) = line.values.iter().rev().flatten().next() {
                names.push((y(*last), line));
            }
        }
        self.names(&mut svg, names);
        svg.push_str("</svg></div>\n");
        svg
    }

    /// Of each line how far it goes, and where it ends.
    fn in_words(&self) -> String {
        let mut words = self.label.to_owned();
        for line in self.lines {
            let values = || line.values.iter().flatten().copied();
            let Some(last) = values().last() else { continue };
            let (least, most) = values().fold((last, last), |(least, most), value| (least.min(value), most.max(value)));
            let [least, most, last] = [least, most, last].map(self.told);
            let _ = write!(words, "; {}: {least} to {most}, {last} at last", line.name);
        }
        words
    }

    fn x(&self, nth: usize) -> f64 {
        let step = (WIDTH - LEFT - RIGHT) / self.columns.len().max(1) as f64;
        LEFT + step * (nth as f64 + 0.5)
    }

    fn below(&self, svg: &mut String) {
        let every = self.columns.len().div_ceil(LABELS_MAX).max(1);
        for (nth, column) in self.columns.iter().enumerate() {
            if nth.is_multiple_of(every) && !column.label.is_empty() {
                let _ = write!(
                    svg,
                    "<text class=\"axis\" text-anchor=\"middle\" x=\"{:.1}\" y=\"{}\">{}</text>",
                    self.x(nth),
                    HEIGHT + 18.0,
                    Esc(&column.label)
                );
            }
            if let Some((sign, tone)) = column.mark {
                let _ = write!(
                    svg,
                    "<text class=\"{tone}\" text-anchor=\"middle\" x=\"{:.1}\" y=\"{}\">{sign}</text>",
                    self.x(nth),
                    HEIGHT + 36.0
                );
            }
        }
    }

    fn line(&self, svg: &mut String, line: &Line<'_>, y: &dyn Fn(f64) -> f64) {
        let mut path = String::new();
        let mut is_open = false;
        for (nth, value) in line.values.iter().enumerate() {
            match value {
                Some(value) => {
                    let _ = write!(path, "{}{:.1} {:.1}", if is_open { 'L' } else { 'M' }, self.x(nth), y(*value));
                    is_open = true;
                }
                // What was not measured is a gap.
                None => is_open = false,
            }
        }
        let _ = write!(svg, "<path class=\"line {}\" d=\"{path}\"/>", line.class);
        // Of many the points would be one band.
        if self.columns.len() > 150 {
            return;
        }
        for ((nth, value), column) in line.values.iter().enumerate().zip(self.columns) {
            let Some(value) = value else { continue };
            let (x, y) = (self.x(nth), y(*value));
            let shape = match line.class {
                "a" => format!("<circle class=\"point a\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>"),
                "b" => format!("<rect class=\"point b\" x=\"{:.1}\" y=\"{:.1}\" width=\"6.4\" height=\"6.4\"/>", x - 3.2, y - 3.2),
                _ => format!("<path class=\"point c\" d=\"M{x:.1} {:.1}l4.2 7.4h-8.4z\"/>", y - 4.6),
            };
            let tip = format!("<title>{}: {} {}</title>", Esc(&column.tip), line.name, Esc((self.told)(*value)));
            let _ = match &column.link {
                // For pointers: whoever has none goes by the table below, and not through each point of a picture.
                Some(link) => write!(svg, "<a href=\"{link}\" tabindex=\"-1\" aria-hidden=\"true\">{tip}{shape}</a>"),
                None => write!(svg, "<g>{tip}{shape}</g>"),
            };
        }
    }

    /// At the end of each line, and not one over the other.
    fn names(&self, svg: &mut String, mut names: Vec<(f64, &Line<'_>)>) {
        names.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut least = f64::MIN;
        for (y, line) in names {
            let y = y.max(least);
            least = y + 14.0;
            let _ =
                write!(svg, "<text class=\"name {}\" x=\"{}\" y=\"{:.1}\">{}</text>", line.class, WIDTH - RIGHT + 8.0, y + 4.0, line.name);
        }
    }
}

/// So that a quarter of it is a plain number.
fn round_up(most: f64) -> f64 {
    if most <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(most.log10().floor());
    [1.0, 1.2, 1.6, 2.0, 2.4, 3.2, 4.0, 6.0, 8.0, 10.0].iter().map(|step| step * power).find(|top| *top >= most).unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_a_gap_and_a_value_of_nothing_divides_nothing() {
        let columns: Vec<Column> = ["<a>", "b", "c"].map(|label| Column { label: label.into(), ..Column::default() }).into();
        let lines = [Line { name: "p50", class: "a", values: vec![Some(1.0), None, Some(3.0)] }];
        let svg = Chart { label: "x", columns: &columns, lines: &lines, told: &|value| format!("{value}") }.draw();
        assert_eq!(svg.matches('M').count(), 2, "{svg}");
        assert!(svg.contains("&lt;a&gt;") && !svg.contains("NaN"), "{svg}");
        assert!(svg.contains("aria-label=\"x; p50: 1 to 3, 3 at last\""), "{svg}");
        let nothing = [Line { name: "p50", class: "a", values: vec![Some(0.0), None, None] }];
        let svg = Chart { label: "x", columns: &columns, lines: &nothing, told: &|value| format!("{value}") }.draw();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert_eq!([round_up(7.0), round_up(0.013), round_up(100.0), round_up(0.0)], [8.0, 0.016, 100.0, 1.0]);
    }
}
