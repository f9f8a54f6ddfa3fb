use super::*;

#[test]
fn eight_digits_at_a_time_are_read_as_one_by_one() {
    for text in ["0", "7", "12345678", "123456789", "1234567890123456", "99999999999999999", "999999999999999999", "10000000", "42,17"] {
        for tail in ["", ",", "]]],\"client\":3}"] {
            let line = format!("{text}{tail}");
            let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
            let mut quick = Quick { bytes: line.as_bytes(), at: 0 };
            assert_eq!(quick.number(), digits.parse().ok(), "{line}");
            assert_eq!(quick.at, digits.len(), "{line}");
        }
    }
    for text in ["", "x", "-1", "01", "00", "1234567890123456789", "99999999999999999999999999"] {
        assert_eq!(Quick { bytes: text.as_bytes(), at: 0 }.number(), None, "{text}");
    }
}
