//! The network model of failure drills: an instance is put into a security group that lets nothing through, and back.
//!
//! Where it was stands in a tag of the instance itself, written before the change, so that whoever comes after a crash can undo it.
//! It must never overwrite that tag with the drill's own group.

use super::{Ec2, ask, refused};
use crate::failure::CallError;
use crate::read;
use redirector_core::scale::{ErrorKind, ProviderError};

/// EC2 holds a tag's value to so many characters.
const TAG_CHARS_MAX: usize = 256;

impl Ec2 {
    /// Cuts an instance off. Twice is once.
    pub async fn isolate(&self, instance_id: &str, group: &str) -> Result<(), ProviderError> {
        let (groups, former) = self.groups_of(instance_id).await?;
        if groups != [group] {
            let kept = groups.join(",");
            if groups.is_empty() || kept.len() > TAG_CHARS_MAX {
                let why = format!("{instance_id} is in {} security groups: they could not be given back", groups.len());
                return Err(refused(&why).into());
            }
            if former.as_ref() != Some(&groups) {
                self.0.ask("CreateTags", &ask::remember_groups(instance_id, &kept)).await?;
            }
        }
        Ok(self.set_security_groups(instance_id, &[group.to_owned()]).await?)
    }

    /// Gives an instance back the security groups that it was in. Twice is once.
    pub async fn rejoin(&self, instance_id: &str) -> Result<(), ProviderError> {
        let (_, former) = self.groups_of(instance_id).await?;
        // Without the tag nothing was changed: the tag comes first.
        let Some(former) = former else { return Ok(()) };
        self.set_security_groups(instance_id, &former).await?;
        self.0.ask("DeleteTags", &ask::forget_groups(instance_id)).await?;
        Ok(())
    }

    /// The security groups of an instance, and those that it was in before it was cut off.
    async fn groups_of(&self, instance_id: &str) -> Result<(Vec<String>, Option<Vec<String>>), CallError> {
        let page = self.0.ask("DescribeInstances", &ask::describe_instance(instance_id)).await?;
        if read::is_terminated(&page) {
            let message = format!("{instance_id} is terminated");
            return Err(CallError { kind: ErrorKind::NotFound, code: String::new(), message });
        }
        let groups =
            read::security_groups(&page).ok_or_else(|| CallError::unknown(format!("{instance_id} is not listed")))?;
        Ok((groups, read::former_groups(&page)))
    }
}
