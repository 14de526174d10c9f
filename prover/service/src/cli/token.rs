//! `token create`: tokens that let prover nodes in.

use std::time::Duration;

use serde_json::json;

use super::{
    CliError, Endpoint, Out,
    client::{Client, call, refused},
    output::{row, table},
};
use crate::{api::proto, store::Trust};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum TokenVerb {
    /// Make a token with which one node may join, once.
    Create(CreateArgs),
}

/// How far a node is trusted.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum TrustName {
    /// Sees public inputs only.
    Untrusted,
    /// May see private inputs.
    Vetted,
    /// The operator's own.
    Owned,
}

impl TrustName {
    pub(crate) fn code(self) -> i32 {
        match self {
            Self::Untrusted => Trust::Untrusted,
            Self::Vetted => Trust::Vetted,
            Self::Owned => Trust::Owned,
        }
        .code()
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// How far the node is trusted; private inputs go to vetted and owned nodes only.
    #[arg(long, value_enum, default_value = "untrusted")]
    trust: TrustName,
    /// A pool that the node belongs to; may be repeated.
    #[arg(long, value_name = "NAME")]
    pool: Vec<String>,
    /// How long the token can be used: 15m, 2h, 1d.
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = time)]
    ttl: Duration,
    #[command(flatten)]
    endpoint: Endpoint,
}

/// A time as people write it: 90s, 15m, 24h, 30d.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let bad = || "expected a number and s, m, h or d, like 15m or 30d".to_owned();
    let unit = text.chars().last().ok_or_else(bad)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(bad()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| bad())?;
    number
        .checked_mul(seconds)
        .map(Duration::from_secs)
        .ok_or_else(bad)
}

/// The same in a message.
pub(crate) fn duration(time: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        nanos: 0,
    }
}

pub(crate) async fn run(verb: TokenVerb, out: Out) -> Result<(), CliError> {
    let TokenVerb::Create(args) = verb;
    let mut client = Client::connect(&args.endpoint).await?;
    let request = proto::CreateEnrollTokenRequest {
        pools: args.pool,
        trust: args.trust.code(),
        ttl: Some(duration(args.ttl)),
    };
    let made = client
        .admin
        .create_enroll_token(call(request))
        .await
        .map_err(refused)?
        .into_inner();
    let expires = made.expire_time.map(|t| t.seconds);
    // The token alone on its line: it is to be piped.
    out.result(
        &json!({ "token": made.token, "expires": expires }),
        &made.token,
    );
    if !out.json {
        let rows = [
            row("use it once, within", format!("{} s", args.ttl.as_secs())),
            row(
                "on the node",
                "zkinfer node join --gateway https://HOST:PORT --token …",
            ),
        ];
        eprint!("{}", table(&rows));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(time("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(time("0s"), Ok(Duration::ZERO));
        assert_eq!(time("30d"), Ok(Duration::from_secs(30 * 86_400)));
        for bad in [
            "",
            "m",
            "15",
            "-1m",
            "1.5h",
            "15ä",
            "99999999999999999999d",
            "999999999999999999d",
        ] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }
}
