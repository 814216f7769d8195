//! A filter of system calls as a program for the kernel (seccomp(2)).
//!
//! The numbers of the calls that are treated alike are joined into ranges, and the program looks for a call's range by
//! halving, so that an allowed call costs about eight comparisons. A number above all that the profile knows is
//! answered with `ENOSYS`, as Docker's runtime does it, so that programs fall back to older calls; a profile that
//! allows by default allows it.
//!
//! The crate seccompiler was not taken: it knows one answer besides the default one, one kind of processor (so 32-bit programs
//! would be killed), and it always forbids new privileges.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::oci::{Arch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompOperator as Operator};

/// Instructions, `struct sock_filter` of the kernel.
type Code = Vec<libc::sock_filter>;

const LOAD: u16 = 0x20;
const RETURN: u16 = 0x06;
const JUMP: u16 = 0x05;
const EQUAL: u16 = 0x15;
const GREATER: u16 = 0x25;
const AT_LEAST: u16 = 0x35;
const AND: u16 = 0x54;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// The most instructions that the kernel takes.
const MOST: usize = 4096;

/// A kind of processor: its `AUDIT_ARCH_*`, and its numbers of system calls by their names.
struct Table {
    audit: u32,
    number: fn(&str) -> Option<i32>,
}

fn table(arch: Arch) -> Option<Table> {
    Some(match arch {
        Arch::ScmpArchX86_64 => Table {
            audit: 0xc000_003e,
            number: |name| syscalls::x86_64::Sysno::from_str(name).ok().map(|number| number.id()),
        },
        Arch::ScmpArchX86 => Table {
            audit: 0x4000_0003,
            number: |name| syscalls::x86::Sysno::from_str(name).ok().map(|number| number.id()),
        },
        Arch::ScmpArchAarch64 => Table {
            audit: 0xc000_00b7,
            number: |name| syscalls::aarch64::Sysno::from_str(name).ok().map(|number| number.id()),
        },
        Arch::ScmpArchArm => Table {
            audit: 0x4000_0028,
            number: |name| syscalls::arm::Sysno::from_str(name).ok().map(|number| number.id()),
        },
        _ => return None,
    })
}

/// What happens to one call.
#[derive(Clone, PartialEq, Default)]
struct Answer {
    always: Option<u32>,
    /// Arguments that all must fit, and what happens then.
    sometimes: Vec<(Vec<LinuxSeccompArg>, u32)>,
}

/// Compiles the filter. An error names the part of it that cannot be compiled.
pub(super) fn compile(filter: &LinuxSeccomp) -> Result<Vec<libc::sock_filter>, String> {
    let default = value(filter.default_action(), filter.default_errno_ret())?;
    let native = if cfg!(target_arch = "aarch64") { Arch::ScmpArchAarch64 } else { Arch::ScmpArchX86_64 };
    let mut architectures = filter.architectures().clone().unwrap_or_default();
    architectures.retain(|arch| *arch != Arch::ScmpArchNative);
    if !architectures.contains(&native) {
        architectures.insert(0, native);
    }
    let mut code = vec![statement(LOAD, ARCHITECTURE)];
    for arch in architectures {
        // Programs for x32 have the audit number of x86_64 and numbers beyond all others, so they get ENOSYS below.
        if arch == Arch::ScmpArchX32 {
            continue;
        }
        let table = table(arch).ok_or_else(|| format!("system calls of {arch:?}"))?;
        let mut body = vec![statement(LOAD, NUMBER)];
        body.extend(calls(filter, &table, default)?);
        code.push(jump(EQUAL, table.audit, 1, 0));
        code.push(skip(body.len()));
        code.extend(body);
    }
    code.push(statement(RETURN, libc::SECCOMP_RET_KILL_THREAD));
    if code.len() > MOST {
        return Err("a filter of system calls of this length".to_owned());
    }
    Ok(code)
}

fn calls(filter: &LinuxSeccomp, table: &Table, default: u32) -> Result<Code, String> {
    let mut answers: BTreeMap<u32, Answer> = BTreeMap::new();
    let mut last = 0;
    for rule in filter.syscalls().iter().flatten() {
        let answer = value(rule.action(), rule.errno_ret())?;
        for name in rule.names() {
            // This kind of processor may lack a call of this name.
            let Some(number) = (table.number)(name).and_then(|number| u32::try_from(number).ok()) else { continue };
            last = last.max(number);
            let entry = answers.entry(number).or_default();
            match rule.args().as_deref().unwrap_or_default() {
                [] => entry.always = entry.always.or(Some(answer)),
                args => entry.sometimes.extend(alternatives(args).into_iter().map(|args| (args, answer))),
            }
        }
    }
    let mut ranges: Vec<(u32, Code)> = Vec::new();
    let mut before: Option<Answer> = None;
    let mut next = 0;
    for number in answers.keys().copied().chain([last + 1]).collect::<Vec<_>>() {
        if number > next {
            push(&mut ranges, &mut before, next, Answer::default(), default)?;
        }
        if let Some(answer) = answers.remove(&number) {
            push(&mut ranges, &mut before, number, answer, default)?;
        }
        next = number + 1;
    }
    let permissive = matches!(filter.default_action(), Action::ScmpActAllow | Action::ScmpActLog);
    let beyond = if permissive { default } else { libc::SECCOMP_RET_ERRNO | ENOSYS };
    ranges.push((last + 1, vec![statement(RETURN, beyond)]));
    Ok(search(&ranges))
}

/// Begins a new range, unless it is treated as the one before.
fn push(
    ranges: &mut Vec<(u32, Code)>,
    before: &mut Option<Answer>,
    from: u32,
    mut answer: Answer,
    default: u32,
) -> Result<(), String> {
    if answer.always.is_some() {
        answer.sometimes.clear();
    }
    if before.as_ref() == Some(&answer) && answer.sometimes.is_empty() {
        return Ok(());
    }
    let mut code = Code::new();
    for (args, answer) in &answer.sometimes {
        code.extend(conditions(args, vec![statement(RETURN, *answer)])?);
    }
    code.push(statement(RETURN, answer.always.unwrap_or(default)));
    ranges.push((from, code));
    *before = Some(answer);
    Ok(())
}

/// Halves the ranges until one is left.
fn search(ranges: &[(u32, Code)]) -> Code {
    let (lower, upper) = match ranges {
        [] => return Code::new(),
        [(_, code)] => return code.clone(),
        ranges => ranges.split_at(ranges.len() / 2),
    };
    let (low, high) = (search(lower), search(upper));
    let mut code = Code::new();
    match u8::try_from(low.len()) {
        Ok(length) => code.push(jump(AT_LEAST, upper[0].0, length, 0)),
        Err(_) => code.extend([jump(AT_LEAST, upper[0].0, 0, 1), skip(low.len())]),
    }
    code.extend(low);
    code.extend(high);
    code
}

/// Several conditions on one argument are alternatives (runc v1.1.5 `libcontainer/seccomp`); otherwise all must hold.
fn alternatives(args: &[LinuxSeccompArg]) -> Vec<Vec<LinuxSeccompArg>> {
    let twice = (1..args.len()).any(|at| args[..at].iter().any(|one| one.index() == args[at].index()));
    if twice { args.iter().map(|arg| vec![*arg]).collect() } else { vec![args.to_vec()] }
}

/// Runs `then` if all conditions hold, else what comes after it.
fn conditions(args: &[LinuxSeccompArg], then: Code) -> Result<Code, String> {
    let mut code = then;
    for arg in args.iter().rev() {
        let fail = u8::try_from(code.len()).map_err(|_| "that many conditions on a system call".to_owned())?;
        let mut whole = condition(arg, fail)?;
        whole.extend(code);
        code = whole;
    }
    Ok(code)
}

/// Goes on if the condition holds, else jumps over `fail` more instructions after itself. The arguments have 64 bits, and
/// the machine looks at 32.
fn condition(arg: &LinuxSeccompArg, fail: u8) -> Result<Code, String> {
    let index = u32::try_from(arg.index()).ok().filter(|&index| index < 6).ok_or("that argument of a system call")?;
    let low_at = ARGUMENTS + 8 * index;
    let (low_at, high_at) = if cfg!(target_endian = "little") { (low_at, low_at + 4) } else { (low_at + 4, low_at) };
    let (high, low) = halves(arg.value());
    let load_high = statement(LOAD, high_at);
    let load_low = statement(LOAD, low_at);
    let too_far = |more: u8| fail.checked_add(more).ok_or_else(|| "that many conditions on a system call".to_owned());
    // Each comparison looks at the upper half, then at the lower half if the upper one does not decide.
    Ok(match arg.op() {
        Operator::ScmpCmpEq => {
            vec![load_high, jump(EQUAL, high, 0, too_far(2)?), load_low, jump(EQUAL, low, 0, fail)]
        }
        Operator::ScmpCmpNe => vec![load_high, jump(EQUAL, high, 0, 2), load_low, jump(EQUAL, low, fail, 0)],
        Operator::ScmpCmpMaskedEq => {
            let (want_high, want_low) = halves(arg.value_two().unwrap_or(0));
            vec![
                load_high,
                statement(AND, high),
                jump(EQUAL, want_high, 0, too_far(3)?),
                load_low,
                statement(AND, low),
                jump(EQUAL, want_low, 0, fail),
            ]
        }
        Operator::ScmpCmpGe => ordered(load_high, load_low, high, jump(AT_LEAST, low, 0, fail), too_far(2)?),
        Operator::ScmpCmpGt => ordered(load_high, load_low, high, jump(GREATER, low, 0, fail), too_far(2)?),
        Operator::ScmpCmpLt => reverse(load_high, load_low, high, jump(AT_LEAST, low, fail, 0), too_far(3)?),
        Operator::ScmpCmpLe => reverse(load_high, load_low, high, jump(GREATER, low, fail, 0), too_far(3)?),
    })
}

/// A larger upper half holds, a smaller one fails, and for the same one the lower half decides.
fn ordered(
    load_high: libc::sock_filter,
    load_low: libc::sock_filter,
    high: u32,
    low: libc::sock_filter,
    fail: u8,
) -> Code {
    vec![load_high, jump(GREATER, high, 3, 0), jump(EQUAL, high, 0, fail), load_low, low]
}

/// A larger upper half fails, a smaller one holds, and for the same one the lower half decides.
fn reverse(
    load_high: libc::sock_filter,
    load_low: libc::sock_filter,
    high: u32,
    low: libc::sock_filter,
    fail: u8,
) -> Code {
    vec![load_high, jump(GREATER, high, fail, 0), jump(EQUAL, high, 0, 2), load_low, low]
}

fn halves(value: u64) -> (u32, u32) {
    let high = u32::try_from(value >> 32).unwrap_or_default();
    (high, u32::try_from(value & 0xffff_ffff).unwrap_or_default())
}

fn value(action: Action, errno: Option<u32>) -> Result<u32, String> {
    Ok(match action {
        Action::ScmpActKill | Action::ScmpActKillThread => libc::SECCOMP_RET_KILL_THREAD,
        Action::ScmpActKillProcess => libc::SECCOMP_RET_KILL_PROCESS,
        Action::ScmpActTrap => libc::SECCOMP_RET_TRAP,
        Action::ScmpActErrno => libc::SECCOMP_RET_ERRNO | (errno.unwrap_or(EPERM) & libc::SECCOMP_RET_DATA),
        Action::ScmpActLog => libc::SECCOMP_RET_LOG,
        Action::ScmpActAllow => libc::SECCOMP_RET_ALLOW,
        Action::ScmpActNotify | Action::ScmpActTrace => return Err(format!("linux.seccomp with {action}")),
    })
}

fn statement(code: u16, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt: 0, jf: 0, k }
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// Jumps over `length` instructions.
fn skip(length: usize) -> libc::sock_filter {
    statement(JUMP, u32::try_from(length).unwrap_or(u32::MAX))
}
