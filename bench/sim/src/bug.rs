//! Planted bugs: wrappers around the production code that spoil what goes in or comes out, each of which the checkers must catch.
//!
//! Nothing here may change production code; a checker that misses one of these is not to be believed.

/// One bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// A launch is sent a second time as another attempt.
    DoubledAttempt,
    /// The journal says "written" before it is.
    LostFsync,
    /// What a listing does not show is taken for gone at once.
    ListingBelieved,
    /// The cloud ignores client tokens, as moto does.
    TokenIgnored,
    /// Agents do not write down who wants them drained.
    DrainForgotten,
    /// Name servers ignore tombstones.
    TombstoneIgnored,
    /// The scaler is told a higher maximum.
    MaxIgnored,
    /// Agents say that no cache names them any more.
    GateSkipped,
    /// The door goes on with an old snapshot.
    SnapshotStale,
    /// A name server goes on with an old snapshot.
    AnswersStale,
    /// Failed calls are repeated at once, many times.
    RetryStorm,
    /// Heartbeats report no sessions.
    SessionsHidden,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::DoubledAttempt,
        Self::LostFsync,
        Self::ListingBelieved,
        Self::TokenIgnored,
        Self::DrainForgotten,
        Self::TombstoneIgnored,
        Self::MaxIgnored,
        Self::GateSkipped,
        Self::SnapshotStale,
        Self::AnswersStale,
        Self::RetryStorm,
        Self::SessionsHidden,
    ];

    /// As on the command line.
    pub fn label(self) -> String {
        crate::fault::label(&format!("{self:?}"))
    }
}

impl std::str::FromStr for Bug {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let all = || Self::ALL.iter().map(|bug| bug.label()).collect::<Vec<_>>().join(", ");
        Self::ALL.into_iter().find(|bug| bug.label() == text).ok_or_else(|| format!("expected one of {}", all()))
    }
}
