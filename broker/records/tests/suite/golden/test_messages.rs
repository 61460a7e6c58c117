use bytes::Bytes;

use super::{Case, ID, body};
use crate::test_messages::nullable_struct_message::{MyStruct, MyStruct2, MyStruct3, MyStruct4};
use crate::test_messages::{
    NullableStructMessage, SimpleArraysMessage, SimpleExampleMessage, simple_arrays_message,
    simple_example_message,
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        body("SimpleExampleMessage full", 1, full_example_1()),
        body("SimpleExampleMessage full", 2, full_example_2()),
    ];
    for v in 0..=2 {
        cases.push(body("SimpleExampleMessage plain", v, example()));
        let plain = NullableStructMessage::default();
        cases.push(body("NullableStructMessage plain", v, plain));
        cases.push(body("NullableStructMessage full", v, full_structures(v)));
        cases.push(body("NullableStructMessage nulls", v, null_structures(v)));
        cases.push(body("SimpleArraysMessage full", v, arrays(v)));
    }
    cases
}

fn example() -> SimpleExampleMessage {
    SimpleExampleMessage {
        my_common_struct: simple_example_message::TestCommonStruct { foo: -1, bar: 2 },
        ..Default::default()
    }
}

fn full_example_1() -> SimpleExampleMessage {
    SimpleExampleMessage {
        process_id: ID,
        my_tagged_int_array: vec![1, -2],
        my_nullable_string: Some("n".into()),
        my_int16: -3,
        my_float64: 0.5,
        my_string: "s".into(),
        my_bytes: None,
        tagged_uuid: ID,
        tagged_long: -4,
        zero_copy_byte_buffer: Bytes::from_static(&[8]),
        nullable_zero_copy_byte_buffer: None,
        my_uint16: 65_535,
        my_uint32: 4_294_967_295,
        ..example()
    }
}

fn full_example_2() -> SimpleExampleMessage {
    use simple_example_message::{MyStruct, StructArray, TaggedStruct};
    SimpleExampleMessage {
        my_bytes: Some(Bytes::from_static(&[7])),
        // Version 1 alone has these.
        zero_copy_byte_buffer: Bytes::new(),
        nullable_zero_copy_byte_buffer: Some(Bytes::new()),
        my_struct: MyStruct {
            struct_id: 5,
            array_in_struct: vec![StructArray { array_field_id: 9 }],
        },
        my_tagged_struct: TaggedStruct {
            struct_id: "t".into(),
        },
        tagged_long_flexible_version_subset: 6,
        ..full_example_1()
    }
}

fn full_structures(v: i16) -> NullableStructMessage {
    let plain = NullableStructMessage::default();
    let full = NullableStructMessage {
        nullable_struct: Some(MyStruct {
            my_string: "a".into(),
            my_int: 1,
        }),
        nullable_struct2: Some(MyStruct2 {
            my_string: "b".into(),
            my_int: 2,
        }),
        nullable_struct3: Some(MyStruct3 {
            my_string: "c".into(),
            my_int: 3,
        }),
        nullable_struct4: Some(MyStruct4 {
            my_string: "d".into(),
            my_int: 4,
        }),
    };
    match v {
        0 => NullableStructMessage {
            nullable_struct3: plain.nullable_struct3,
            nullable_struct4: plain.nullable_struct4,
            ..full
        },
        _ => full,
    }
}

fn null_structures(v: i16) -> NullableStructMessage {
    match v {
        0 => NullableStructMessage::default(),
        _ => NullableStructMessage {
            nullable_struct: None,
            nullable_struct2: None,
            nullable_struct3: None,
            nullable_struct4: None,
        },
    }
}

fn arrays(v: i16) -> SimpleArraysMessage {
    let goat = simple_arrays_message::StructArray {
        color: -7,
        name: if v >= 2 { "g".into() } else { "".into() },
    };
    SimpleArraysMessage {
        goats: if v >= 1 { vec![goat] } else { vec![] },
        sheep: vec![5, -6],
    }
}
