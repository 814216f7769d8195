//! Our own runtime.

use std::path::{Path, PathBuf};

use crate::error::RuntimeError;
use crate::state::State;
use crate::stdio::Stdio;
use crate::{Created, oci};

/// What a created container waits with.
#[derive(Debug)]
pub(crate) struct Waiting;

#[derive(Debug)]
pub(crate) struct Builtin {
    state: PathBuf,
}

impl Builtin {
    pub(crate) fn new(state: &Path) -> Self {
        Self { state: state.to_owned() }
    }
    pub(crate) fn create(&self, _: &Path, _: &str, _: Stdio) -> Result<Created, RuntimeError> {
        Err(RuntimeError::Refused("everything, so far".to_owned()))
    }
    pub(crate) fn start(&self, id: &str, _: &mut Created) -> Result<(), RuntimeError> {
        Err(RuntimeError::Unknown(id.to_owned()))
    }
    pub(crate) fn kill(&self, id: &str, _: i32, _: bool) -> Result<(), RuntimeError> {
        Err(RuntimeError::Unknown(id.to_owned()))
    }
    pub(crate) fn state(&self, id: &str) -> Result<State, RuntimeError> {
        Err(RuntimeError::Unknown(id.to_owned()))
    }
    pub(crate) fn delete(&self, _: &str, _: bool) -> Result<(), RuntimeError> {
        Ok(())
    }
    pub(crate) fn exec(&self, id: &str, _: &oci::Process, _: Stdio) -> Result<Created, RuntimeError> {
        Err(RuntimeError::Unknown(id.to_owned()))
    }
}
