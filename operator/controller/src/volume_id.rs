//! Which volume of a pod. Pure.

use std::fmt;

/// A volume of a pod: 0 is the one that every pod has, 1 to 15 are further ones of a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeId(u8);

impl VolumeId {
    /// The one that every pod has.
    pub const FIRST: Self = Self(0);
    /// No broker has more.
    pub const LAST: Self = Self(15);

    /// `None` for a number that no volume has.
    #[must_use]
    pub fn new(id: i32) -> Option<Self> {
        u8::try_from(id)
            .ok()
            .filter(|id| *id <= Self::LAST.0)
            .map(Self)
    }

    /// Every volume that a pod may have.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=Self::LAST.0).map(Self)
    }

    /// The name of its claim template, and of the volume in the pod. Claims are called by it and the pod: no Cluster's name
    /// begins with a digit, so none is another Cluster's.
    #[must_use]
    pub fn template(self) -> String {
        if self == Self::FIRST {
            "data".to_owned()
        } else {
            format!("data-{self}")
        }
    }

    /// The volume of a claim template.
    #[must_use]
    pub fn of_template(name: &str) -> Option<Self> {
        Self::all().find(|id| id.template() == name)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn folder(self) -> String {
        if self == Self::FIRST {
            "/var/lib/foz".to_owned()
        } else {
            format!("/var/lib/foz-{self}")
        }
    }
}

impl fmt::Display for VolumeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::VolumeId;

    #[test]
    fn templates_and_numbers_are_each_others() {
        assert_eq!(VolumeId::all().count(), 16);
        for id in VolumeId::all() {
            assert_eq!(VolumeId::of_template(&id.template()), Some(id));
            assert_eq!(VolumeId::new(id.0.into()), Some(id));
        }
        for name in [
            "", "data-", "data-0", "data-01", "data-16", "config", "data-x",
        ] {
            assert_eq!(VolumeId::of_template(name), None, "{name}");
        }
        for id in [-1, 16, 256, i32::MAX] {
            assert_eq!(VolumeId::new(id), None, "{id}");
        }
    }
}
