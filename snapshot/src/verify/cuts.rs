//! Cuts: what each says of itself, and whether what a whole one needs is there.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::report::{Kind, Report};
use crate::cut::{self, Cut, Standing};
use crate::inventory::Objects;
use crate::store::{self, Store};

pub(super) async fn verify(
    store: &dyn Store,
    cluster_id: &str,
    objects: &BTreeMap<(Uuid, i32), Objects>,
    report: &mut Report,
) -> Result<(), store::Error> {
    for (name, standing, listed) in cut::list(store).await? {
        let cut = match Cut::read(store, name, standing, cluster_id).await {
            Ok(cut) => cut,
            Err(cut::Error::Store(store::Error::NotFound(_))) => continue,
            Err(cut::Error::Store(why)) => return Err(why),
            Err(why) => {
                report.find(Kind::Damaged, &listed.key, None, why.to_string());
                continue;
            }
        };
        report.cuts += 1;
        if let (Standing::Whole, Err(why)) = (standing, cut.check(objects)) {
            report.find(Kind::Missing, &listed.key, None, why.to_string());
        }
    }
    Ok(())
}
