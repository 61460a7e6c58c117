//! What an acknowledgement promises.

use clap::ValueEnum;

use crate::report::Product;

/// What has happened to a record when its producer hears that it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Promise {
    /// It is in the page cache of one broker: it survives the process, not the machine. Kafka's default.
    PageCache,
    /// It is on the disk of one broker. Foz's default for a partition with a single replica.
    Flushed,
    /// It is in the page cache of all brokers in sync, two of three at least. Both products' default for
    /// three replicas.
    Replicated,
}

impl Promise {
    /// The one that was asked for, or those of one broker: with three, Kafka alone takes minutes.
    pub(crate) fn chosen(only: Option<Self>) -> Vec<Self> {
        only.map_or_else(
            || vec![Self::PageCache, Self::Flushed],
            |promise| vec![promise],
        )
    }

    /// How many brokers it takes. With one, it is a controller too; with more there are as many
    /// controllers, each a process of its own.
    pub(crate) fn brokers(self) -> u16 {
        match self {
            Self::PageCache | Self::Flushed => 1,
            Self::Replicated => 3,
        }
    }

    /// The line of `server.properties` that makes the product keep this promise; empty when it does so by
    /// itself.
    pub(crate) fn property(self, product: Product) -> &'static str {
        match (product, self) {
            (Product::Kafka, Self::PageCache) => "log.flush.interval.messages=9223372036854775807",
            (Product::Kafka, Self::Flushed) => "log.flush.interval.messages=1",
            (Product::Foz, Self::PageCache) => "foz.flush.single.replica=false",
            (Product::Foz, Self::Flushed) => "foz.flush.single.replica=true",
            (_, Self::Replicated) => "",
        }
    }

    /// For the line of progress.
    pub(crate) fn sentence(self, product: Product) -> String {
        match self {
            Self::PageCache | Self::Flushed => format!("({})", self.property(product)),
            Self::Replicated => "(three brokers, three controllers)".to_owned(),
        }
    }

    /// The title of a table.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::PageCache => "one broker, acknowledged from the page cache (Kafka's default)",
            Self::Flushed => {
                "one broker, acknowledged after a flush to disk (Foz's default for one replica)"
            }
            Self::Replicated => {
                "three brokers, three controllers, three replicas, min.insync.replicas=2"
            }
        }
    }
}
