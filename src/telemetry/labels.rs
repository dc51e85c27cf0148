//! Values of metric labels, as enums. A counter begins with one series for each value, and a value without a text is a
//! compile error.

/// Declares an enum whose variants are the values of a label, each with its text.
macro_rules! label_values {
    ($(#[$attribute:meta])* $visibility:vis enum $name:ident {
        $($(#[$variant_attribute:meta])* $variant:ident = $text:literal,)+
    }) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $visibility enum $name {
            $($(#[$variant_attribute])* $variant,)+
        }

        impl $name {
            /// All values, in the order of the documentation.
            $visibility const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The value of the label.
            $visibility const fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}
pub(crate) use label_values;

label_values! {
    /// Why a request or a connection was refused, as `headcount_refused_total` counts it.
    pub enum RefusedReason {
        /// The limit of sessions is reached.
        Full = "full",
        /// The instance shuts down.
        Draining = "draining",
        /// The page may not connect.
        Origin = "origin",
        /// The client sent more than the limits allow.
        Flood = "flood",
        /// A post did not arrive in time.
        Slow = "slow",
        /// The limit of connections of the public listener is reached.
        Descriptors = "descriptors",
        /// The limit of connections of the admin listener is reached.
        Admin = "admin",
        /// The limit of event streams is reached.
        Streams = "streams",
        /// The limit of rooms that programs ask for is reached.
        Rooms = "rooms",
        /// A request to the API has no token that allows it.
        Token = "token",
    }
}

label_values! {
    /// Why a client may not join a namespace: the code that it is told, which `headcount_joins_refused_total` counts.
    pub enum JoinRefusal {
        /// The name is no name of a room, or no pattern of `HEADCOUNT_ROOMS` allows it.
        RoomNotAllowed = "room_not_allowed",
        /// The connection is in as many rooms as it may be, or the instance has as many as it may have.
        TooManyRooms = "too_many_rooms",
        /// What the client says about itself has the wrong form.
        BadAuth = "bad_auth",
        /// A token is needed, and there is none.
        TokenMissing = "token_missing",
        /// The token is not valid here.
        TokenInvalid = "token_invalid",
        /// The token was valid once.
        TokenExpired = "token_expired",
        /// The token says which rooms its bearer may join, and this is none of them.
        RoomForbidden = "room_forbidden",
        /// It asks for the list of the room's users, which `HEADCOUNT_LISTS` does not allow.
        ListNotAllowed = "list_not_allowed",
    }
}

label_values! {
    /// What is wrong with a token, as `headcount_tokens_refused_total` counts it. Beside these it counts `expired`.
    pub enum TokenFault {
        /// It is longer than any token may be.
        TooLong = "too_long",
        /// It is no token, or its header demands what nobody here understands.
        Malformed = "malformed",
        /// It is signed with an algorithm that is not accepted here, or that does not belong to its key.
        Algorithm = "algorithm",
        /// No key is known that may have signed it.
        Key = "key",
        /// It was not signed with the key that it names, or was changed since.
        Signature = "signature",
        /// It is from another issuer.
        Issuer = "issuer",
        /// It is for another audience.
        Audience = "audience",
        /// It says no time at which it expires.
        NoExpiry = "no_expiry",
        /// It is not valid yet.
        NotYetValid = "not_yet_valid",
        /// It does not say whose it is.
        NoSubject = "no_subject",
        /// What it says of whose it is cannot be the id of a user.
        Subject = "subject",
        /// Another of its claims has the wrong form.
        Claims = "claims",
    }
}

label_values! {
    /// The outcome of a request for the keys of an issuer, as `headcount_jwks_fetches_total` counts it.
    pub enum JwksResult {
        /// The keys are new, or the same as before.
        Ok = "ok",
        /// There was no connection, or it broke.
        Unreachable = "unreachable",
        /// There was no answer in time.
        Timeout = "timeout",
        /// The status was not 200. Redirects are not followed.
        Status = "status",
        /// The answer was longer than any set of keys.
        TooLarge = "too_large",
        /// The answer was no set of keys, or had none that can be used.
        Malformed = "malformed",
    }
}

label_values! {
    /// How a connection is in a room, as `headcount_memberships` counts it.
    pub enum MembershipKind {
        /// It is counted.
        Member = "member",
        /// It is told the count, and not counted.
        Watcher = "watcher",
    }
}

label_values! {
    /// What is known of a user, as `headcount_users` counts it.
    pub enum UserIdentity {
        /// A token says who it is.
        Token = "token",
        /// A visitor key tells the user from others.
        Visitor = "visitor",
        /// Nothing: the user is a connection.
        None = "none",
    }
}

label_values! {
    /// The outcome of a report, as `headcount_reports_total` counts it.
    pub enum ReportResult {
        /// The store applied it.
        Applied = "applied",
        /// The store refused it as late or repeated.
        Stale = "stale",
        /// The store does not hold what was reported to it before, and asked for all of it.
        Resend = "resend",
        /// The store applied it, and it was the farewell.
        Farewell = "farewell",
        /// The store could not be reached.
        Unreachable = "unreachable",
        /// There was no answer in time.
        Timeout = "timeout",
        /// The store does not accept writes for now.
        Refused = "refused",
        /// A key has the wrong type.
        WrongType = "wrong_type",
        /// The credentials are wrong, or a permission is missing.
        Denied = "denied",
        /// The answer was not understood.
        Protocol = "protocol",
    }
}
