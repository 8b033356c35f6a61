//! `DescribeCluster`: the brokers and the controller.

use protocol::error_code::ErrorCode;
use protocol::messages::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};
use protocol::wire::Str;

use super::metadata;
use crate::dispatch::Context;

/// The endpoints of brokers; Kafka's other kind are those of controllers.
const BROKERS: i8 = 1;

/// Answers it.
pub fn handle(cx: &Context, request: &DescribeClusterRequest) -> DescribeClusterResponse {
    if request.endpoint_type != BROKERS {
        return DescribeClusterResponse {
            error_code: ErrorCode::MismatchedEndpointType.code(),
            error_message: Some(Str::from_static(
                "this is a broker: ask for its endpoint type, 1",
            )),
            endpoint_type: request.endpoint_type,
            ..Default::default()
        };
    }
    let image = cx.broker.image();
    let brokers = image.brokers().filter_map(|known| {
        let is_fenced = !cx.broker.is_listed(known.node());
        (!is_fenced || request.include_fenced_brokers).then(|| DescribeClusterBroker {
            broker_id: known.node().0,
            host: Str::from(known.registration.host.as_str()),
            port: i32::from(known.registration.port),
            rack: known.registration.rack.as_deref().map(Str::from),
            is_fenced,
        })
    });
    DescribeClusterResponse {
        endpoint_type: BROKERS,
        cluster_id: metadata::cluster_id(&image),
        controller_id: metadata::controller_id(&cx.broker).0,
        brokers: brokers.collect(),
        cluster_authorized_operations: if request.include_cluster_authorized_operations {
            metadata::CLUSTER_OPERATIONS
        } else {
            i32::MIN
        },
        ..Default::default()
    }
}
