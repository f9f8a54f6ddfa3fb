//! Scales and their ticks.

/// Linear, from a range of values to a range of pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Linear {
    pub(super) max: f64,
    pub(super) pixels: f64,
}

impl Linear {
    pub(super) fn at(self, value: f64) -> f64 {
        if self.max <= 0.0 { 0.0 } else { (value / self.max).clamp(0.0, 1.0) * self.pixels }
    }

    /// Round values from 0 on, about `wanted` of them.
    pub(super) fn ticks(self, wanted: f64) -> Vec<f64> {
        if self.max <= 0.0 {
            return vec![0.0];
        }
        let rough = self.max / wanted;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= rough).unwrap_or(rough);
        (0..=50).map(|index| f64::from(index) * step).take_while(|tick| *tick <= self.max * 1.000_001).collect()
    }
}

/// Logarithmic, over whole decades of nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decades {
    pub(super) low: i32,
    pub(super) high: i32,
    pub(super) pixels: f64,
}

impl Decades {
    /// The decades that hold all values, at least two of them.
    pub(super) fn around(values_ns: impl Iterator<Item = u64>, pixels: f64) -> Self {
        let (mut least, mut most) = (u64::MAX, 0);
        for value in values_ns.filter(|value| *value > 0) {
            least = least.min(value);
            most = most.max(value);
        }
        if most == 0 {
            return Self { low: 6, high: 9, pixels };
        }
        let low = (least as f64).log10().floor() as i32;
        let high = ((most as f64).log10().ceil() as i32).max(low + 2);
        Self { low, high, pixels }
    }

    pub(super) fn at(self, value_ns: f64) -> f64 {
        let position = (value_ns.max(1.0).log10() - f64::from(self.low)) / f64::from(self.high - self.low);
        position.clamp(0.0, 1.0) * self.pixels
    }

    /// Each decade's beginning, with its name.
    pub(super) fn ticks(self) -> Vec<(f64, String)> {
        (self.low..=self.high).map(|power| (10f64.powi(power), decade_name(power))).collect()
    }
}

fn decade_name(power: i32) -> String {
    let (unit, base) = match power {
        ..=5 => ("µs", 3),
        6..=8 => ("ms", 6),
        _ => ("s", 9),
    };
    format!("{} {unit}", 10f64.powi(power - base))
}

/// Quantiles spread by how rare what lies beyond them is: 50 %, 90 %, 99 %, 99.9 % are equally far apart from 90 % on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nines {
    /// How many nines the last tick has.
    pub(super) max: f64,
    pub(super) pixels: f64,
}

impl Nines {
    pub(super) fn at(self, quantile: f64) -> f64 {
        let nines = -(1.0 - quantile).max(10f64.powf(-self.max)).log10();
        (nines / self.max).clamp(0.0, 1.0) * self.pixels
    }

    pub(super) fn ticks(self) -> Vec<(f64, String)> {
        let mut ticks = vec![(0.5, "50 %".to_owned())];
        for nines in 1..=self.max.floor() as i32 {
            let quantile = 1.0 - 10f64.powi(-nines);
            let digits = (nines - 2).max(0) as usize;
            ticks.push((quantile, format!("{:.digits$} %", quantile * 100.0)));
        }
        ticks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        assert_eq!(Linear { max: 118.0, pixels: 100.0 }.ticks(10.0), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(Linear { max: 0.0, pixels: 100.0 }.ticks(10.0), [0.0]);
        let decades = Decades::around([800_000, 9_000_000_000].into_iter(), 100.0);
        let names: Vec<String> = decades.ticks().into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["100 µs", "1 ms", "10 ms", "100 ms", "1 s", "10 s"]);
        assert_eq!(decades.at(1e5), 0.0);
        let names: Vec<String> = Nines { max: 4.0, pixels: 100.0 }.ticks().into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["50 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
    }
}
