use proptest::prelude::*;

use super::*;

#[test]
fn varints_at_their_edges() {
    for (value, bytes) in [
        (0i32, &[0u8][..]),
        (-1, &[1]),
        (1, &[2]),
        (63, &[0x7e]),
        (-64, &[0x7f]),
        (64, &[0x80, 0x01]),
        (i32::MAX, &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
        (i32::MIN, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
    ] {
        let mut out = Vec::new();
        put_varint(&mut out, value);
        assert_eq!(out, bytes);
        assert_eq!(varint_length(value), bytes.len());
        assert_eq!(Reader::new(bytes).varint("v"), Ok(value));
    }
    let mut out = Vec::new();
    put_varlong(&mut out, i64::MIN);
    assert_eq!(
        out,
        [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]
    );
    assert_eq!(Reader::new(&out).varlong("v"), Ok(i64::MIN));
}

#[test]
fn varints_that_are_too_long_or_cut_are_errors() {
    let too_long = WireError::Varint {
        field: "v",
        bits: 32,
    };
    assert_eq!(
        Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x10]).varint("v"),
        Err(too_long)
    );
    assert_eq!(Reader::new(&[0x80; 5]).varint("v"), Err(too_long));
    assert!(matches!(
        Reader::new(&[0x80, 0x80]).varint("v"),
        Err(WireError::Truncated {
            needed: 3,
            available: 2,
            ..
        })
    ));
    let too_long = WireError::Varint {
        field: "v",
        bits: 64,
    };
    assert_eq!(Reader::new(&[0x80; 11]).varlong("v"), Err(too_long));
    let mut ten = [0xff; 10];
    ten[9] = 0x02;
    assert_eq!(Reader::new(&ten).varlong("v"), Err(too_long));
}

#[test]
fn lengths_that_lie_are_refused_before_anything_is_allocated() {
    let mut reader = Reader::new(&[0x7f, 0xff, 0xff, 0xff, 0]);
    assert!(matches!(
        reader.nullable_array_length(false, 1, "topics"),
        Err(WireError::Length {
            length: 0x7fff_ffff,
            ..
        })
    ));
    let mut reader = Reader::new(&[0xff, 0xff, 0xff, 0xfe]);
    assert!(matches!(
        reader.nullable_bytes(false, "records"),
        Err(WireError::Length { length: -2, .. })
    ));
    let mut reader = Reader::new(&[0xff, 0xff]);
    assert_eq!(
        reader.string(false, "name"),
        Err(WireError::Null { field: "name" })
    );
}

proptest! {
    #[test]
    fn varlongs_come_back(value: i64) {
        let mut out = Vec::new();
        put_varlong(&mut out, value);
        prop_assert_eq!(out.len(), varlong_length(value));
        prop_assert_eq!(Reader::new(&out).varlong("v"), Ok(value));
    }
}
