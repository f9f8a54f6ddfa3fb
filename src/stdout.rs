//! Standard output is for data. A reader that went away (`| head`) is no error, and above all no panic in the middle of a fault.

/// `print!` that survives a closed pipe.
#[macro_export]
macro_rules! say_raw {
    ($($argument:tt)*) => {{
        use std::io::Write as _;
        let mut out = std::io::stdout().lock();
        let _ = write!(out, $($argument)*).and_then(|()| out.flush());
    }};
}

/// `println!` that survives a closed pipe.
#[macro_export]
macro_rules! say {
    ($($argument:tt)*) => {{
        use std::io::Write as _;
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, $($argument)*).and_then(|()| out.flush());
    }};
}
