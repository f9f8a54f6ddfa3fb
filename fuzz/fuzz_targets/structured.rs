#![no_main]

kchaos_fuzz_bodies::metered!();
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kchaos_fuzz_bodies::within_bounds(bytes, kchaos_fuzz_bodies::structured));
