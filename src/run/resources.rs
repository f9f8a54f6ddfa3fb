//! What the client machine spent on the run: a load generator that is itself starved measures itself.

use crate::slo::{SloOutcome, SloStatus};

/// More points than these say nothing more: every second one is left out then.
const POINTS_MAX: usize = 240;
/// Before that, what grows is a start (queues, caches, the heap's own reserve).
const GROWTH_FROM_S: f64 = 600.0;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Resources {
    /// CPU seconds of this process since its start, user and system.
    pub(crate) cpu_s: f64,
    pub(crate) wall_s: f64,
    /// Resident memory in MiB: when the clients were up, the greatest ever (as the kernel knows it), and the last of a sample each second.
    pub(crate) resident_first_mib: f64,
    pub(crate) resident_max_mib: f64,
    pub(crate) resident_last_mib: f64,
    /// Seconds and resident MiB, evenly spaced, while clients were at work.
    pub(crate) resident: Vec<(f64, f64)>,
    /// Samples for each point, and those since the last.
    stride: usize,
    skipped: usize,
}

impl Resources {
    /// Takes a sample; call it each second. The finale, which holds the clients, reads everything again and is no part of the load.
    pub(crate) fn sample(&mut self, wall_s: f64, is_load: bool) {
        self.wall_s = wall_s;
        let usage = usage();
        self.cpu_s = cpu_seconds(&usage);
        let resident = resident_mib();
        if self.resident_first_mib == 0.0 {
            self.resident_first_mib = resident;
        }
        self.resident_max_mib = resident.max(usage.ru_maxrss as f64 / 1024.0);
        self.resident_last_mib = resident;
        if is_load {
            self.point(wall_s, resident);
        }
    }

    fn point(&mut self, wall_s: f64, resident_mib: f64) {
        self.skipped += 1;
        if self.skipped < self.stride {
            return;
        }
        self.skipped = 0;
        self.resident.push((wall_s, resident_mib));
        if self.resident.len() > POINTS_MAX {
            let mut number = 0;
            self.resident.retain(|_| {
                number += 1;
                number % 2 == 1
            });
            self.stride = self.stride.max(1) * 2;
        }
    }

    /// By how much the mean of the load's last quarter is above that of its second, in MiB; `None` of a load too short to tell.
    pub(crate) fn growth_mib(&self) -> Option<f64> {
        let from = self.resident.first()?.0;
        let length = self.resident.last()?.0 - from;
        let mean = |quarter: f64| {
            let (low, high) = (from + length * quarter / 4.0, from + length * (quarter + 1.0) / 4.0);
            let found: Vec<f64> = self.resident.iter().filter(|(at, _)| (low..=high).contains(at)).map(|(_, mib)| *mib).collect();
            (!found.is_empty()).then(|| found.iter().sum::<f64>() / found.len() as f64)
        };
        if length < GROWTH_FROM_S { None } else { Some(mean(3.0)? - mean(1.0)?) }
    }

    /// Whether our own memory stayed as it was: a tool that is to run for days must not be what ends it.
    pub(crate) fn judge_growth(&self, max_mib: u32) -> Option<SloOutcome> {
        let grown = self.growth_mib()?;
        let slo = format!("own-memory-growth<={max_mib}MiB");
        let (status, word) = if grown <= f64::from(max_mib) { (SloStatus::Met, "met") } else { (SloStatus::Missed, "missed") };
        let text = format!("{slo} was {word}: {grown:+.1} MiB from the second to the last quarter of {:.0} s of load", self.load_s());
        Some(SloOutcome { slo, status, measured_ns: None, limit_ns: 0, n: self.resident.len() as u64, text })
    }

    fn load_s(&self) -> f64 {
        self.resident.last().map_or(0.0, |last| last.0) - self.resident.first().map_or(0.0, |first| first.0)
    }
}

fn usage() -> libc::rusage {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: getrusage fills the struct it is given; it fails only for a bad `who` or pointer.
    unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    }
}

fn cpu_seconds(usage: &libc::rusage) -> f64 {
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// From `/proc/self/statm`, whose second field counts resident pages.
fn resident_mib() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<f64>().ok())
        .unwrap_or(0.0);
    // SAFETY: sysconf reads a constant.
    let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as f64;
    pages * page_bytes / (1024.0 * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_says_something_true() {
        let mut resources = Resources::default();
        resources.sample(1.0, true);
        assert!(resources.resident_last_mib > 0.5 && resources.cpu_s >= 0.0);
        assert!(resources.resident_max_mib >= resources.resident_first_mib);
        assert_eq!(resources.resident.len(), 1);
    }

    fn after(seconds: u32, mib: impl Fn(f64) -> f64) -> Resources {
        let mut resources = Resources::default();
        (0..seconds).map(f64::from).for_each(|at| resources.point(at, mib(at)));
        resources
    }

    #[test]
    fn points_of_days_are_few_and_evenly_spaced() {
        let resources = after(200_000, |at| at);
        assert!((POINTS_MAX / 2..=POINTS_MAX).contains(&resources.resident.len()), "{}", resources.resident.len());
        let steps: Vec<f64> = resources.resident.windows(2).map(|two| two[1].0 - two[0].0).collect();
        assert!(steps.iter().all(|step| *step == steps[0]), "{steps:?}");
    }

    #[test]
    fn memory_that_grows_is_told_from_one_that_only_started() {
        let hour = |mib: fn(f64) -> f64| after(3_600, mib).judge_growth(16).unwrap();
        let flat = hour(|at| 50.0 + (at / 60.0).min(9.0));
        assert_eq!((flat.status, flat.slo.as_str()), (SloStatus::Met, "own-memory-growth<=16MiB"));
        let leak = hour(|at| 50.0 + at / 60.0);
        assert!(leak.status == SloStatus::Missed && leak.text.contains("+29.9 MiB from the second to the last quarter"), "{}", leak.text);
        assert_eq!(after(500, |at| at).judge_growth(16), None);
    }
}
