//! What an acknowledgement promises.

use clap::ValueEnum;

use crate::report::Product;

/// What has happened to a record when its producer hears that it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Promise {
    /// It is in the page cache: it survives the process, not the machine. Kafka's default.
    PageCache,
    /// It is on the disk. Foz's default for a partition with a single replica.
    Flushed,
}

impl Promise {
    /// The one that was asked for, or all.
    pub(crate) fn chosen(only: Option<Self>) -> Vec<Self> {
        only.map_or_else(
            || vec![Self::PageCache, Self::Flushed],
            |promise| vec![promise],
        )
    }

    /// The line of `server.properties` that makes the product keep this promise.
    pub(crate) fn property(self, product: Product) -> &'static str {
        match (product, self) {
            (Product::Kafka, Self::PageCache) => "log.flush.interval.messages=9223372036854775807",
            (Product::Kafka, Self::Flushed) => "log.flush.interval.messages=1",
            (Product::Foz, Self::PageCache) => "foz.flush.single.replica=false",
            (Product::Foz, Self::Flushed) => "foz.flush.single.replica=true",
        }
    }

    /// For the line of progress.
    pub(crate) fn sentence(self, product: Product) -> String {
        format!("({})", self.property(product))
    }

    /// The title of a table.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::PageCache => "acknowledged from the page cache (Kafka's default)",
            Self::Flushed => "acknowledged after a flush to disk (Foz's default for one replica)",
        }
    }
}
