//! Why: our daemons beside their peers on one machine, in one run, in turns, since numbers of different runs compare nothing.
//! Never: starts nothing that it does not end, sends nothing beyond loopback, and leaves no peer out silently.

pub mod batch;
pub mod dns;
pub mod dns_servers;
pub mod echo;
pub mod h2load;
pub mod http;
pub mod http_cases;
pub mod http_servers;
pub mod load;
pub mod machine;
pub mod procfs;
pub mod question;
pub mod respond;
pub mod server;
pub mod table;
pub mod wait;
pub mod wrk;
