//! The first records of a cluster.

use super::draft::Draft;
use super::{Decided, ErrorCode, Refusal};
use crate::image::{FEATURES, Image};
use crate::record::{ClusterRecord, Fact, FeatureLevelRecord};

/// Writes the id that the quorum minted into the metadata, once, and the levels of a new cluster.
pub fn found_cluster(image: &Image, cluster_id: &str) -> Decided<()> {
    let mut draft = Draft::new(image);
    if image.cluster_id().is_empty() {
        draft.write(Fact::Cluster(ClusterRecord {
            cluster_id: cluster_id.to_owned(),
        }));
        for feature in FEATURES {
            draft.write(Fact::FeatureLevel(FeatureLevelRecord {
                name: feature.name.to_owned(),
                level: feature.founded,
            }));
        }
    } else if image.cluster_id() != cluster_id {
        return Err(Refusal::new(
            ErrorCode::InconsistentClusterId,
            format!(
                "the metadata belongs to cluster {}, the quorum to cluster {cluster_id}",
                image.cluster_id()
            ),
        ));
    }
    Ok(draft.decide(()))
}
