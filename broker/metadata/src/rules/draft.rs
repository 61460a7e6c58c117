//! The image while a command is being decided: what the command wrote so far is already in it.

use super::Decision;
use super::feature_levels::{level_of, may_write};
use crate::image::Image;
use crate::record::{Fact, Record};

#[derive(Debug)]
pub(super) struct Draft {
    image: Image,
    records: Vec<Record>,
}

impl Draft {
    pub(super) fn new(image: &Image) -> Self {
        Self {
            image: image.clone(),
            records: Vec::new(),
        }
    }

    /// The image with everything written so far; its offset is still that of the start.
    pub(super) fn image(&self) -> &Image {
        &self.image
    }

    /// The image with one more fact, which is not written.
    pub(super) fn preview(&self, fact: &Fact) -> Image {
        let mut image = self.image.clone();
        image
            .apply_record(&Record::from(fact.clone()))
            .expect("a rule writes only what can be applied");
        image
    }

    pub(super) fn write(&mut self, fact: Fact) {
        let level = level_of(&fact);
        assert!(
            may_write(&self.image, level),
            "a rule writes what belongs to level {level} of foz.version before it is finalised"
        );
        let record = Record::from(fact);
        self.image
            .apply_record(&record)
            .expect("a rule writes only what can be applied");
        self.records.push(record);
    }

    pub(super) fn decide<A>(self, answer: A) -> Decision<A> {
        Decision {
            records: self.records,
            answer,
        }
    }
}
