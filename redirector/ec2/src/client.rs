//! The wire: one signed request out, one answer in, over the SDK's own runtime.
//!
//! A call is sent once. Whether it is sent again is the executor's decision (it alone knows what was journalled), so the SDK's
//! retries are off. The body goes out octet for octet; only headers are added. An answer is read up to a cap and never trusted.

use crate::failure::CallError;
use crate::form::value_of;
use crate::xml::Element;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_runtime::auth::SigV4OperationSigningConfig;
use aws_runtime::auth::sigv4::{SCHEME_ID, SigV4AuthScheme};
use aws_smithy_async::time::{SharedTimeSource, TimeSource};
use aws_smithy_runtime::client::identity::IdentityCache;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime_api::client::auth::static_resolver::StaticAuthSchemeOptionResolver;
use aws_smithy_runtime_api::client::auth::{
    AuthSchemeOptionResolverParams, SharedAuthScheme, SharedAuthSchemeOptionResolver,
};
use aws_smithy_runtime_api::client::identity::SharedIdentityResolver;
use aws_smithy_runtime_api::client::interceptors::context::{Error, Output};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponentsBuilder;
use aws_smithy_runtime_api::client::runtime_plugin::StaticRuntimePlugin;
use aws_smithy_runtime_api::client::ser_de::DeserializeResponse;
use aws_smithy_runtime_api::client::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_smithy_types::DateTime;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use aws_smithy_types::config_bag::{ConfigBag, Layer};
use aws_smithy_types::date_time::Format;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SigningName;
use aws_types::region::SigningRegion;
use farm_shared::time::{Now, Wall};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A longer answer is not read, in octets. A page of instances has about one megabyte.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Causes told of one error.
const CAUSES_MAX: usize = 8;
const USER_AGENT: &str = concat!("farm-redirector/", env!("CARGO_PKG_VERSION"));

/// The daemon's clock.
pub type Clock = Arc<dyn Fn() -> Now + Send + Sync>;

/// How EC2 is reached.
#[derive(Clone)]
pub struct Settings {
    /// The region, as in `eu-central-1`.
    pub region: String,
    /// Scheme and authority of another implementation; the region's own endpoint unless given.
    pub endpoint: Option<String>,
    /// A call that was not answered after this is given up; its fate is unknown then.
    pub call_timeout: Duration,
    /// A connection that was not made after this is given up.
    pub connect_timeout: Duration,
    /// The daemon's clock; signatures are made with it.
    pub clock: Clock,
    /// None: what the SDK's usual chain finds in environment, shared files, web identity, container, and IMDSv2.
    pub keys: Option<Keys>,
}

/// An access key that does not change.
#[derive(Clone)]
pub struct Keys {
    /// The public half.
    pub access_key_id: String,
    /// The secret half.
    pub secret_access_key: String,
}

/// Speaks the EC2 Query protocol. Clones share connections and credentials.
#[derive(Clone)]
pub struct Client {
    operation: Operation<String, Answer, Infallible>,
    call_timeout: Duration,
    clock: Clock,
}

impl Client {
    /// A client. Credentials are looked for when the first call is made, and again before they expire.
    pub async fn new(settings: Settings) -> Self {
        let Settings { region, endpoint, call_timeout, connect_timeout, clock, keys } = settings;
        let endpoint = endpoint.unwrap_or_else(|| endpoint_of(&region));
        let time = SharedTimeSource::new(FarmTime(Arc::clone(&clock)));
        let timeouts = TimeoutConfig::builder().connect_timeout(connect_timeout).build();
        let loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .region(Region::new(region.clone()))
            .timeout_config(timeouts.clone())
            .time_source(time.clone());
        let loader = match keys {
            Some(Keys { access_key_id: id, secret_access_key: secret }) => {
                loader.credentials_provider(Credentials::new(id, secret, None, None, "given"))
            }
            None => loader,
        };
        let config = loader.load().await;
        let mut layer = Layer::new("ec2");
        layer.store_put(AuthSchemeOptionResolverParams::new(()));
        layer.store_put(SigV4OperationSigningConfig {
            region: Some(SigningRegion::from(Region::new(region))),
            name: Some(SigningName::from_static("ec2")),
            ..SigV4OperationSigningConfig::default()
        });
        let mut components = RuntimeComponentsBuilder::new("ec2")
            .with_auth_scheme(SharedAuthScheme::new(SigV4AuthScheme::new()))
            .with_auth_scheme_option_resolver(Some(SharedAuthSchemeOptionResolver::new(
                StaticAuthSchemeOptionResolver::new(vec![SCHEME_ID]),
            )))
            .with_identity_cache(Some(IdentityCache::lazy().build()));
        if let Some(credentials) = config.credentials_provider() {
            components.set_identity_resolver(SCHEME_ID, SharedIdentityResolver::new(credentials));
        }
        let plugin = StaticRuntimePlugin::new().with_config(layer.freeze()).with_runtime_components(components);
        let operation = Operation::builder()
            .service_name("EC2")
            .operation_name("Query")
            .behavior_version(BehaviorVersion::v2026_01_12())
            .endpoint_url(&endpoint)
            .no_retry()
            .timeout_config(timeouts)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .time_source(time)
            .runtime_plugin(plugin)
            .serializer(|body: String| Ok(request(body)))
            .deserializer_impl::<Answer, Infallible>(TakeAnswer)
            .build();
        Self { operation, call_timeout, clock }
    }

    /// Sends a body once and reads the answer. The error tells what is known of its fate.
    pub async fn send(&self, body: &str) -> Result<Element, CallError> {
        let action = value_of(body, "Action").unwrap_or_default();
        match tokio::time::timeout(self.call_timeout, self.exchange(&action, body)).await {
            Ok(result) => result,
            Err(_) => Err(CallError::unknown(format!("{action}: no answer within {} ms", self.call_timeout.as_millis()))),
        }
    }

    async fn exchange(&self, action: &str, body: &str) -> Result<Element, CallError> {
        let answer = self.operation.invoke(body.to_owned()).await.map_err(|e| not_answered(action, &e))?;
        let Answer { status, date, body } = answer;
        let bytes = read(body).await.map_err(|why| CallError::unknown(format!("{action}: HTTP {status}, {why}")))?;
        let is_success = (200..300).contains(&status);
        match Element::parse(&bytes) {
            // A success of somebody else, a proxy's page say, would read as an empty list: servers that vanished.
            Ok(element) if is_success && element.name.strip_suffix("Response") != Some(action) => {
                Err(CallError::of_status(action, status, &format!("an answer to something else, <{:.40}>", element.name)))
            }
            Ok(element) if is_success => Ok(element),
            Ok(element) => Err(CallError::of_answer(action, status, &element, date, (self.clock)().wall)),
            Err(bad) => Err(CallError::of_status(action, status, &format!("an answer that cannot be read: {bad}"))),
        }
    }
}

/// The endpoint that AWS runs for a region.
fn endpoint_of(region: &str) -> String {
    let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    format!("https://ec2.{region}.{suffix}")
}

fn request(body: String) -> HttpRequest {
    let mut request = HttpRequest::new(SdkBody::from(body));
    // Only a method or a URI that is no such thing is refused, and these are constants.
    let _ = request.set_method("POST");
    let _ = request.set_uri("/");
    request.headers_mut().insert("content-type", "application/x-www-form-urlencoded; charset=utf-8");
    request.headers_mut().insert("user-agent", USER_AGENT);
    request
}

/// No answer came. What was sent may have been carried out, unless nothing was sent; that is not told apart, since the same octets
/// again are right in either case.
fn not_answered(action: &str, error: &SdkError<Infallible, HttpResponse>) -> CallError {
    let what = match error {
        SdkError::TimeoutError(_) => "no answer in time",
        SdkError::DispatchFailure(f) if f.is_timeout() => "no connection in time",
        SdkError::DispatchFailure(f) if f.is_io() => "the connection broke",
        SdkError::ConstructionFailure(_) | SdkError::DispatchFailure(_) => "not sent",
        _ => "an answer that is none",
    };
    CallError::unknown(format!("{action}: {what}: {}", causes(error)))
}

/// An error and what caused it, for people: without the SDK's structures, and the same for the same trouble.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    for _ in 0..CAUSES_MAX {
        let Some(cause) = source else { break };
        let told = cause.to_string();
        if !text.ends_with(&told) {
            text = format!("{text}: {told}");
        }
        source = cause.source();
    }
    text
}

/// An answer whose body is still to be read.
#[derive(Debug)]
struct Answer {
    status: u16,
    date: Option<Wall>,
    body: SdkBody,
}

/// Takes the body unread, so that it can be read with a cap: the SDK's own way collects all of it, however long it is.
#[derive(Debug)]
struct TakeAnswer;

impl DeserializeResponse for TakeAnswer {
    fn deserialize_streaming_with_config(
        &self,
        response: &mut HttpResponse,
        _: &ConfigBag,
    ) -> Option<Result<Output, OrchestratorError<Error>>> {
        let date = response.headers().get("date").and_then(|text| DateTime::from_str(text, Format::HttpDate).ok());
        let date = date.and_then(|date| date.to_millis().ok()).and_then(|ms| u64::try_from(ms).ok()).map(Wall);
        let answer = Answer { status: response.status().as_u16(), date, body: response.take_body() };
        Some(Ok(Output::erase(answer)))
    }
}

async fn read(body: SdkBody) -> Result<Vec<u8>, String> {
    let mut stream = ByteStream::new(body);
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|e| format!("half an answer: {}", causes(&e)))?;
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(format!("an answer of more than {ANSWER_BYTES_MAX} octets"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// The daemon's clock as the SDK wants it.
struct FarmTime(Clock);

impl TimeSource for FarmTime {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis((self.0)().wall.0)
    }
}

impl std::fmt::Debug for FarmTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FarmTime")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_have_endpoints() {
        assert_eq!(endpoint_of("eu-central-1"), "https://ec2.eu-central-1.amazonaws.com");
        assert_eq!(endpoint_of("cn-north-1"), "https://ec2.cn-north-1.amazonaws.com.cn");
    }
}
