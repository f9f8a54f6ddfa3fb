//! What the client machine spent on the run: a load generator that is itself starved measures itself.

use serde::Serialize;

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Resources {
    /// CPU seconds of this process since its start, user and system.
    pub(crate) cpu_s: f64,
    pub(crate) wall_s: f64,
    /// Resident memory in MiB, sampled each second: the first after the clients were up, the greatest, and the last.
    pub(crate) resident_first_mib: f64,
    pub(crate) resident_max_mib: f64,
    pub(crate) resident_last_mib: f64,
}

impl Resources {
    /// Takes a sample; call it each second.
    pub(crate) fn sample(&mut self, wall_s: f64) {
        self.wall_s = wall_s;
        self.cpu_s = cpu_seconds();
        let resident = resident_mib();
        if self.resident_first_mib == 0.0 {
            self.resident_first_mib = resident;
        }
        self.resident_max_mib = self.resident_max_mib.max(resident);
        self.resident_last_mib = resident;
    }
}

fn cpu_seconds() -> f64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: getrusage fills the struct it is given; it fails only for a bad `who` or pointer.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
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
        resources.sample(1.0);
        assert!(resources.resident_last_mib > 0.5 && resources.cpu_s >= 0.0);
        assert!(resources.resident_max_mib >= resources.resident_first_mib);
    }
}
