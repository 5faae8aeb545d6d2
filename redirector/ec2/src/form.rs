//! Chained writing of request bodies, on top of redirector-core's one way to write a form, and a look into them.

use redirector_core::cloud;

/// A body under construction. Fields stand in it in the order in which they were added.
#[derive(Clone, Debug)]
pub struct Form(cloud::Form);

impl Form {
    /// A request for an action.
    pub fn new(action: &str) -> Self {
        Self(cloud::Form::new(action))
    }

    /// One more parameter.
    pub fn with(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.0.push(name, value.as_ref());
        self
    }

    /// `NAME.1=…&NAME.2=…`.
    pub fn list<T: AsRef<str>>(self, name: &str, values: impl IntoIterator<Item = T>) -> Self {
        values.into_iter().enumerate().fold(self, |form, (n, value)| form.with(&format!("{name}.{}", n + 1), value))
    }

    /// The filter of that number, from 1.
    pub fn filter(self, number: usize, name: &str, values: &[&str]) -> Self {
        self.with(&format!("Filter.{number}.Name"), name).list(&format!("Filter.{number}.Value"), values)
    }

    /// The octets to send.
    pub fn body(self) -> String {
        self.0.finish()
    }
}

/// The value of a parameter in a body, decoded; none if it is not there or not in a form that we write.
#[cfg(any(test, feature = "client"))]
pub(crate) fn value_of(body: &str, name: &str) -> Option<String> {
    let is_it = |pair: &&str| pair.split_once('=').is_some_and(|(key, _)| key == name);
    let fields = cloud::fields(body.split('&').find(is_it)?)?;
    fields.into_iter().next().map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_what_the_protocol_says() {
        let form = Form::new("DescribeInstances").filter(1, "tag:farm:name", &["mail"]).list("InstanceId", ["i-1", "i-2"]);
        assert_eq!(
            form.body(),
            "Action=DescribeInstances&Version=2016-11-15&Filter.1.Name=tag%3Afarm%3Aname&Filter.1.Value.1=mail\
             &InstanceId.1=i-1&InstanceId.2=i-2"
        );
    }

    #[test]
    fn a_value_is_found_again() {
        for (body, name, value) in [
            ("Action=A&B=x%20y&C=1", "B", Some("x y")),
            ("Action=A&AB=1", "B", None),
            ("B", "B", None),
            ("B=%", "B", None),
            ("A=%zz&B=1", "B", Some("1")),
        ] {
            assert_eq!(value_of(body, name).as_deref(), value, "{body}");
        }
    }
}
