//! How often: a bucket for each tenant and class of methods, and one for each address before anybody is known.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use governor::{
    DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};

use super::methods::Class;
use crate::store::TenantId;

/// Addresses that are remembered; what comes from more shares one bucket.
const MAX_ADDRESSES: usize = 50_000;
/// Tenants and classes that are remembered.
const MAX_TENANTS: usize = 20_000;

/// `rate` calls a second, and at once what two seconds allow; `None` for no bound.
fn quota(rate: f64) -> Option<Quota> {
    if !rate.is_finite() || rate <= 0.0 {
        return None;
    }
    let rate = rate.clamp(1e-3, 1e6);
    let burst = NonZeroU32::new((2.0 * rate).ceil() as u32).unwrap_or(NonZeroU32::MIN);
    Quota::with_period(Duration::from_secs_f64(1.0 / rate)).map(|q| q.allow_burst(burst))
}

/// Waits that are told to a caller: whole seconds, at least one.
pub(crate) fn retry_after(wait: Duration) -> Duration {
    Duration::from_secs(wait.as_secs().saturating_add(1).min(3600))
}

/// A bucket, and the rate that it was made for.
type Bucket = (f64, Arc<DefaultDirectRateLimiter>);

/// The buckets.
#[derive(Debug)]
pub(crate) struct RateLimits {
    addresses: Option<DefaultKeyedRateLimiter<IpAddr>>,
    swept: Mutex<Option<Instant>>,
    tenants: Mutex<HashMap<(TenantId, Class), Bucket>>,
    clock: DefaultClock,
}

impl RateLimits {
    /// Buckets with `per_address` calls a second for each address; 0 for no bound.
    pub(crate) fn new(per_address: f64) -> Self {
        Self {
            addresses: quota(per_address).map(RateLimiter::keyed),
            swept: Mutex::default(),
            tenants: Mutex::default(),
            clock: DefaultClock::default(),
        }
    }

    /// Takes one call of `address`; the error says when the next one may come.
    pub(crate) fn address(&self, address: IpAddr) -> Result<(), Duration> {
        let Some(limiter) = &self.addresses else {
            return Ok(());
        };
        if limiter.len() >= MAX_ADDRESSES && self.may_sweep() {
            limiter.retain_recent();
        }
        let key = if limiter.len() >= MAX_ADDRESSES {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        } else {
            network(address)
        };
        limiter
            .check_key(&key)
            .map_err(|not| not.wait_time_from(self.clock.now()))
    }

    /// A sweep looks at every address: at most one a second.
    fn may_sweep(&self) -> bool {
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        let due = swept.is_none_or(|at| at.elapsed() >= Duration::from_secs(1));
        if due {
            *swept = Some(Instant::now());
        }
        due
    }

    /// Takes one call of a tenant that has `rate` calls a second in each class.
    pub(crate) fn tenant(&self, tenant: TenantId, class: Class, rate: f64) -> Result<(), Duration> {
        let Some(quota) = quota(rate) else {
            return Ok(());
        };
        let limiter = {
            let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
            if tenants.len() >= MAX_TENANTS {
                tenants.clear();
            }
            let fresh = || (rate, Arc::new(RateLimiter::direct(quota)));
            let entry = tenants.entry((tenant, class)).or_insert_with(fresh);
            if entry.0 != rate {
                *entry = fresh();
            }
            Arc::clone(&entry.1)
        };
        limiter
            .check()
            .map_err(|not| not.wait_time_from(self.clock.now()))
    }
}

/// What one party commonly has: an IPv4 address, or 64 bits of an IPv6 address.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let bits = v6.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_runs_out_in_one_class_only_and_gets_a_new_rate_at_once() {
        let limits = RateLimits::new(0.0);
        let (one, two) = (TenantId(1), TenantId(2));
        let mut passed = 0;
        while limits.tenant(one, Class::Create, 2.0).is_ok() {
            passed += 1;
            assert!(passed < 100);
        }
        assert!(passed >= 4, "{passed}");
        assert!(limits.tenant(one, Class::Read, 2.0).is_ok());
        assert!(limits.tenant(two, Class::Create, 2.0).is_ok());
        assert!(limits.tenant(one, Class::Create, 1000.0).is_ok());
        assert!(limits.tenant(one, Class::Create, 0.0).is_ok());
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let limits = RateLimits::new(1.0);
        let at = |text: &str| limits.address(text.parse().expect("address"));
        assert!(at("2001:db8::1").is_ok() && at("2001:db8::2").is_ok());
        assert!(at("2001:db8::3").is_err());
        assert!(at("2001:db8:0:1::3").is_ok());
        assert!(at("192.0.2.1").is_ok() && at("::ffff:192.0.2.1").is_ok());
        assert!(at("192.0.2.1").is_err());
    }

    #[test]
    fn addresses_without_end_are_held_in_bounded_memory() {
        let limits = RateLimits::new(1e-3);
        for n in 0..(MAX_ADDRESSES as u32 + 1000) {
            let _ = limits.address(IpAddr::V4(n.into()));
        }
        let held = limits.addresses.as_ref().map_or(0, RateLimiter::len);
        assert!(held <= MAX_ADDRESSES + 1, "{held}");
    }
}
