//! Who holds a port: for the message about a port in use. Best effort over /proc; of another user's processes only root sees
//! the files, so the answer may be `None`.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const TABLE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The name and process id of a process that holds a port in a way that stands against `addr`.
pub(crate) fn port_owner(protocol: &str, addr: SocketAddr) -> Option<String> {
    let inodes: Vec<u64> = ["", "6"]
        .iter()
        .filter_map(|family| fs::read(format!("/proc/net/{protocol}{family}")).ok())
        .flat_map(|table| holders(&String::from_utf8_lossy(&table[..table.len().min(TABLE_BYTES_MAX)]), protocol, addr))
        .collect();
    if inodes.is_empty() {
        return None;
    }
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pids = processes.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    let mut owners = pids.filter(|pid| holds(*pid, &inodes));
    let pid = owners.next()?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(format!("{} (pid {pid})", name.trim().escape_debug()))
}

fn holds(pid: u32, inodes: &[u64]) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files.flatten().any(|file| {
        let link = fs::read_link(file.path()).unwrap_or_default();
        let inode = link.to_str().and_then(|l| l.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
        inode.is_some_and(|i: u64| inodes.contains(&i))
    })
}

/// Inodes of sockets in a table of /proc/net that bind the address, or a wildcard that covers it or is covered by it.
fn holders(table: &str, protocol: &str, addr: SocketAddr) -> Vec<u64> {
    let row = |line: &str| {
        let words: Vec<&str> = line.split_ascii_whitespace().take(10).collect();
        let (local, state, inode) = (*words.get(1)?, *words.get(3)?, words.get(9)?.parse().ok()?);
        let (ip, port) = local.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let ip = hex_addr(ip)?;
        let clash = ip == addr.ip() || ip.is_unspecified() || addr.ip().is_unspecified();
        let listens = protocol != "tcp" || state == "0A";
        (port == addr.port() && clash && listens).then_some(inode)
    };
    table.lines().skip(1).filter_map(row).collect()
}

/// The kernel prints addresses as words of 32 bits in the machine's byte order.
fn hex_addr(text: &str) -> Option<IpAddr> {
    let word = |i: usize| u32::from_str_radix(text.get(i * 8..i * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    match text.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut bytes = [0; 16];
            for (i, chunk) in bytes.chunks_mut(4).enumerate() {
                chunk.copy_from_slice(&word(i)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_find_ourselves() {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("listener");
        let udp = std::net::UdpSocket::bind("[::1]:0").expect("socket");
        let ours = format!("(pid {})", std::process::id());
        for (protocol, addr) in [("tcp", tcp.local_addr()), ("udp", udp.local_addr())] {
            let owner = port_owner(protocol, addr.expect("address"));
            assert!(owner.as_ref().is_some_and(|o| o.ends_with(&ours)), "{protocol} {owner:?}");
        }
    }

    #[test]
    fn odd_tables_are_read_without_harm() {
        let addr = "127.0.0.1:53".parse().expect("address");
        let good = "head\n 0: 0100007F:0035 00000000:0000 0A 0:0 0:0 0 0 0 77 1";
        assert_eq!(holders(good, "tcp", addr), [77]);
        for odd in ["", "head", "head\n0: : :", "head\n 0: 0100007Fé:0035 x 0A 0 0 0 0 0 77", &good.replace("0A", "01")] {
            assert!(holders(odd, "tcp", addr).is_empty(), "{odd}");
        }
    }
}
