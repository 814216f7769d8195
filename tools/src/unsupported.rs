//! Flags of docker's that a command does not have: refused by their name, and not as if they were misspelled.

use crate::exit::UsageError;

/// Makes a set of hidden flags for a command to flatten. Of `switches` the value is optional, and only `=` gives
/// them one.
macro_rules! unsupported {
    (struct $set:ident; switches: $($switch:ident $(-$short:literal)?)*; values: $($name:ident $(-$letter:literal)?)*) => {
        /// Flags of docker's that are refused by their name.
        #[derive(Debug, Clone, clap::Args)]
        struct $set {
            $(#[arg(long, $(short = $short,)? hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
            $switch: Option<String>,)*
            $(#[arg(long, $(short = $letter,)? hide = true, allow_hyphen_values = true)]
            $name: Vec<String>,)*
        }

        impl $set {
            /// Fails if one of them is given.
            fn refuse(&self) -> Result<(), $crate::exit::UsageError> {
                $(if self.$switch.is_some() {
                    return Err($crate::unsupported::error(stringify!($switch)));
                })*
                $(if !self.$name.is_empty() {
                    return Err($crate::unsupported::error(stringify!($name)));
                })*
                Ok(())
            }
        }
    };
}
pub(crate) use unsupported;

/// What is said of a flag, which has `_` in place of `-`, and at its end where it is a word of Rust.
pub(crate) fn error(field: &str) -> UsageError {
    UsageError(format!(
        "--{} is a flag of docker that is not supported here",
        field.trim_end_matches('_').replace('_', "-")
    ))
}
