fn main() {
    for path in std::env::args().skip(1) {
        let r = kchaos_checkers::check_reader(std::fs::File::open(&path).unwrap(), &path, Default::default()).unwrap();
        for (n, f) in r.anomalies.iter().chain(r.ignored.iter()) {
            for e in &f.examples {
                println!("{n}: {} {:?} {:?} {:?}\n", e.explanation, e.ops, e.values, e.offsets);
            }
        }
    }
}
