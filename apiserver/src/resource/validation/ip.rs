//! Addresses and networks in fields.

use super::Errors;
use apiserver_machinery::field::{Error, Path};
use ipnet::IpNet;
use std::net::IpAddr;

const NOT_AN_ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const NOT_A_NETWORK: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// An address, without what parsers disagree about: leading zeros, IPv4 in IPv6.
pub fn address(value: &str, at: &Path<'_>, errors: &mut Errors) -> Option<IpAddr> {
    match value.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) if address.to_ipv4_mapped().is_some() => {
            errors.push(Error::invalid(at, value, "must not be an IPv4-mapped IPv6 address"));
            None
        }
        Ok(address) => Some(address),
        Err(_) if without_leading_zeros(value).parse::<IpAddr>().is_ok() => {
            errors.push(Error::invalid(at, value, "must not have leading 0s"));
            None
        }
        Err(_) => {
            errors.push(Error::invalid(at, value, NOT_AN_ADDRESS));
            None
        }
    }
}

/// As [`address`], in the one form that it is written in.
pub fn canonical_address(value: &str, at: &Path<'_>, errors: &mut Errors) {
    if let Some(address) = address(value, at, errors)
        && address.to_string() != value
    {
        errors.push(Error::invalid(at, value, format!("must be in canonical form (\"{address}\")")));
    }
}

/// A network, as [`address`], with nothing beyond the prefix.
pub fn network(value: &str, at: &Path<'_>, errors: &mut Errors) -> Option<IpNet> {
    let fail = |errors: &mut Errors, detail: &str| {
        errors.push(Error::invalid(at, value, detail));
        None
    };
    let Some((address, prefix)) = value.split_once('/') else { return fail(errors, NOT_A_NETWORK) };
    let zeros = prefix.len() > 1 && prefix.starts_with('0');
    match value.parse::<IpNet>() {
        Ok(IpNet::V6(net)) if net.addr().to_ipv4_mapped().is_some() => fail(errors, "must not have an IPv4-mapped IPv6 address"),
        Ok(_) if zeros => fail(errors, "must not have leading 0s in IP or prefix length"),
        Ok(net) if net.trunc() != net => fail(errors, "must not have bits set beyond the prefix length"),
        Ok(net) => Some(net),
        Err(_) => {
            let trimmed = format!("{}/{}", without_leading_zeros(address), prefix.trim_start_matches('0'));
            let detail = if trimmed.parse::<IpNet>().is_ok() { "must not have leading 0s in IP or prefix length" } else { NOT_A_NETWORK };
            fail(errors, detail)
        }
    }
}

pub fn canonical_network(value: &str, at: &Path<'_>, errors: &mut Errors) {
    if let Some(net) = network(value, at, errors)
        && net.to_string() != value
    {
        errors.push(Error::invalid(at, value, format!("must be in canonical form (\"{net}\")")));
    }
}

/// `010.1.2.3` as lenient parsers read it.
fn without_leading_zeros(value: &str) -> String {
    let part = |part: &str| {
        let trimmed = part.trim_start_matches('0');
        if trimmed.is_empty() && !part.is_empty() { "0".to_owned() } else { trimmed.to_owned() }
    };
    if value.contains(':') {
        return value.to_owned();
    }
    value.split('.').map(part).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, expect: &str) {
        let mut errors = Vec::new();
        if value.contains('/') {
            canonical_network(value, &Path::new("x"), &mut errors);
        } else {
            canonical_address(value, &Path::new("x"), &mut errors);
        }
        assert_eq!(errors.first().map(|error| error.detail.as_str()).unwrap_or_default(), expect, "{value}");
    }

    #[test]
    fn addresses_and_networks_have_one_form() {
        check("10.0.0.1", "");
        check("10.00.0.1", "must not have leading 0s");
        check("10.0.0", NOT_AN_ADDRESS);
        check("::ffff:1.2.3.4", "must not be an IPv4-mapped IPv6 address");
        check("2001:DB8::1", "must be in canonical form (\"2001:db8::1\")");
        check("10.0.0.0/8", "");
        check("10.0.0.1/8", "must not have bits set beyond the prefix length");
        check("10.0.0.0/08", "must not have leading 0s in IP or prefix length");
        check("10.0.0.0", "");
        check("10.0.0.0/x", NOT_A_NETWORK);
    }
}
