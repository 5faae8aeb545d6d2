//! What a new server in the cloud is: launch profiles, user data, and the exact requests that ask EC2 for it.
//!
//! Pure: a profile is read from text, a request is bytes. Nothing here may reach the cloud, and nothing may draw or look at a clock:
//! the same launch gives the same bytes, which is what makes it safe to send them again.
//!
//! * [`Profiles`]: a file of profiles, checked whole.
//! * [`Ec2Blueprint`]: [`crate::scale::Blueprint`] for EC2; the bytes of a launch.

mod agent_part;
mod blueprint;
mod form;
mod launch;
mod mime;
mod profile;
mod read;
mod read_parts;
mod template;
mod words;

pub use blueprint::{Ec2Blueprint, Ec2Settings};
pub use form::{API_VERSION, Form, fields};
pub use mime::{Part, USER_DATA_BYTES_MAX, decoded, multipart, user_data};
pub use profile::{
    ANY_TYPE, ANY_ZONE, AgentSpec, DeviceSpec, MarketSpec, MetadataSpec, PartSpec, Profile, TemplateRef, TypeSpec,
};
pub use read::{PartFiles, Profiles};
pub use template::{Template, TemplateProblem};
pub use words::PLACEHOLDERS;

#[cfg(test)]
mod tests;
