//! What QEMU knows of a virtio device's queues, and what that says of requests (virtio 1.2, 2.7; QEMU `hw/virtio/virtio-qmp.c`).
//!
//! Four counters, of 16 bits and running free, tell where a request is: *avail* (the guest has put it into the queue, in
//! its own memory), *last avail* (QEMU has taken it), *used* (QEMU has finished it), *signalled* (QEMU has told the
//! guest). The guest's memory is read as little endian, which it is for virtio 1.0 and on x86.

use serde_json::Value;

/// A device, and whether its queues can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// QEMU's name for it: `virtio-blk`.
    pub name: String,
    /// Its place in QEMU's tree.
    pub path: String,
    /// How many queues it has.
    pub queues: u64,
    /// What it is in, that matters here.
    pub state: State,
    /// Whether it uses event indexes.
    pub event_index: bool,
}

/// In which state a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No driver has set it up.
    Unused,
    /// A driver uses it.
    Driven,
    /// The same, with packed queues, whose counters mean something else.
    Packed,
    /// The host's kernel, or another process, works its queues.
    Elsewhere,
    /// Driver and device do not agree, and it does nothing any more.
    Broken,
}

/// A queue's counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// Its number.
    pub index: u64,
    /// How many entries it has.
    pub size: u16,
    /// Where the guest counts what it has put in.
    pub avail_at: u64,
    /// Requests that QEMU has taken and not finished.
    pub in_flight: u16,
    /// What QEMU has taken.
    pub taken: u16,
    /// What QEMU has finished.
    pub used: u16,
    /// What it has told the guest.
    pub told: Option<u16>,
    /// What the guest has put in, as its memory says.
    pub put: Option<u16>,
    /// From which one on the guest wants to be told.
    pub wants: Option<u16>,
}

/// What a queue is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Requests, each of which should come back soon.
    Requests,
    /// Buffers that wait for something to come from outside, for ever if nothing does.
    Buffers,
}

impl Device {
    /// Reads what `x-query-virtio-status` says.
    pub fn read(path: &str, status: &Value) -> Self {
        let flag = |name: &str| status.get(name).and_then(Value::as_bool).unwrap_or(false);
        let words = |pointer: &str| {
            let list = status.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            list.iter().filter_map(Value::as_str).collect::<Vec<_>>()
        };
        let features = words("/guest-features/transports");
        let has = |name: &str| features.iter().any(|feature| feature.starts_with(name));
        let is_driven = words("/status/statuses").iter().any(|status| status.starts_with("VIRTIO_CONFIG_S_DRIVER_OK"));
        let state = match () {
            () if flag("broken") => State::Broken,
            () if !is_driven => State::Unused,
            () if flag("vhost-started") => State::Elsewhere,
            () if has("VIRTIO_F_RING_PACKED") => State::Packed,
            () => State::Driven,
        };
        Self {
            name: status.get("name").and_then(Value::as_str).unwrap_or("virtio device").to_owned(),
            path: path.trim_end_matches("/virtio-backend").to_owned(),
            queues: status.get("num-vqs").and_then(Value::as_u64).unwrap_or(0),
            state,
            event_index: has("VIRTIO_RING_F_EVENT_IDX"),
        }
    }

    /// What its state comes to, where that matters.
    pub fn sentence(&self) -> Option<String> {
        match self.state {
            State::Broken => Some(format!("{}: {}", self.title(), self.state.phrase())),
            State::Unused | State::Driven | State::Packed | State::Elsewhere => None,
        }
    }

    /// How people tell it from others.
    pub fn title(&self) -> String {
        format!("{} {}", self.name, self.path)
    }

    fn purpose(&self, queue: u64) -> Purpose {
        let last = self.queues.saturating_sub(1);
        let waits = match self.name.as_str() {
            "virtio-net" => queue.is_multiple_of(2) && queue != last,
            "virtio-serial" => queue.is_multiple_of(2),
            "virtio-scsi" => queue == 1,
            "virtio-balloon" => queue >= 2,
            "virtio-input" => queue == 0,
            "virtio-vsock" | "vhost-vsock" => queue != 1,
            "virtio-sound" => queue % 2 == 1,
            _ => false,
        };
        if waits { Purpose::Buffers } else { Purpose::Requests }
    }

    /// What a queue's counters come to: sentences, the most telling first; none where nothing is on its way.
    pub fn judge(&self, queue: &Queue) -> Vec<String> {
        let name = format!("{} queue {}", self.title(), queue.index);
        let mut said = Vec::new();
        if self.purpose(queue.index) == Purpose::Buffers || !self.counts() {
            return said;
        }
        let Queue { in_flight, taken, used, told, put, .. } = *queue;
        if in_flight > 0 {
            let (requests, are) = requests(in_flight);
            said.push(format!(
                "{name}: {requests} {are} in flight inside QEMU (it has taken {taken} and finished {used})"
            ));
        }
        if let Some(put) = put.filter(|put| put.wrapping_sub(taken) <= queue.size && *put != taken) {
            let (requests, are) = requests(put.wrapping_sub(taken));
            said.push(format!(
                "{name}: {requests} that the guest has put there {are} not taken by QEMU, which may not have been notified \
                 (avail {put}, taken {taken})"
            ));
        }
        if let Some(told) = told.filter(|told| *told != used) {
            let (requests, _) = requests(used.wrapping_sub(told));
            said.push(format!(
                "{name}: QEMU has finished {requests}, and has not told the guest (used {used}, told {told})"
            ));
        }
        said
    }

    /// Whether its counters are what they are called.
    pub fn counts(&self) -> bool {
        match self.state {
            State::Driven => true,
            State::Unused | State::Packed | State::Elsewhere | State::Broken => false,
        }
    }

    /// One line of a report about a queue.
    pub fn line(&self, queue: &Queue) -> String {
        let counter = |value: Option<u16>| value.map_or_else(|| "?".to_owned(), |value| value.to_string());
        let what = match self.purpose(queue.index) {
            Purpose::Requests => "",
            Purpose::Buffers => " (buffers for what comes in)",
        };
        let wants = queue.wants.map(|wants| format!(", wants to be told from {wants} on")).unwrap_or_default();
        format!(
            "queue {}{what}: guest: avail {}{wants}; QEMU: taken {}, in flight {}, used {}, told {}; {} entries",
            queue.index,
            counter(queue.put),
            queue.taken,
            queue.in_flight,
            queue.used,
            counter(queue.told),
            queue.size
        )
    }
}

impl State {
    /// What it means.
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::Unused => "no driver has set it up",
            Self::Driven => "its driver uses it",
            Self::Packed => "its driver uses packed queues, which are not judged here",
            Self::Elsewhere => "vhost works its queues, which QEMU does not see",
            Self::Broken => {
                "it is broken: the driver has done what QEMU does not accept, and the device does nothing any more"
            }
        }
    }
}

/// `1 request`, and the verb that goes with it.
fn requests(count: u16) -> (String, &'static str) {
    if count == 1 { ("1 request".to_owned(), "is") } else { (format!("{count} requests"), "are") }
}

impl Queue {
    /// Reads what `x-query-virtio-queue-status` says; `None` for one that is not set up.
    pub fn read(status: &Value) -> Option<Self> {
        let number = |name: &str| status.get(name).and_then(Value::as_u64);
        let index = |name: &str| Some(number(name)? as u16);
        let avail_at = number("vring-avail").filter(|at| *at != 0)?;
        let is_told = status.get("signalled-used-valid").and_then(Value::as_bool).unwrap_or(false);
        Some(Self {
            index: number("queue-index")?,
            size: index("vring-num")?,
            avail_at,
            in_flight: index("inuse")?,
            taken: index("last-avail-idx").or_else(|| index("shadow-avail-idx"))?,
            used: index("used-idx")?,
            told: index("signalled-used").filter(|_| is_told),
            put: None,
            wants: None,
        })
    }

    /// Where the guest counts what it has put in: behind 16 bits of flags.
    pub fn put_at(&self) -> u64 {
        self.avail_at.wrapping_add(2)
    }

    /// Where the guest says from when on it wants to be told: behind its ring.
    pub fn wants_at(&self) -> u64 {
        self.avail_at.wrapping_add(4 + 2 * u64::from(self.size))
    }
}

#[cfg(test)]
mod tests {
    use super::{Device, Queue, State};
    use serde_json::json;

    fn device(name: &str) -> Device {
        let status = json!({
            "name": name, "num-vqs": 3, "broken": false, "vhost-started": false,
            "status": {"statuses": ["VIRTIO_CONFIG_S_DRIVER_OK: Driver setup and ready"]},
            "guest-features": {"transports": ["VIRTIO_RING_F_EVENT_IDX: Used & avail. event fields enabled"]},
        });
        Device::read("/machine/peripheral/x/virtio-backend", &status)
    }

    fn queue(taken: u16, used: u16, in_flight: u16, told: u16, put: u16) -> Queue {
        let status = json!({
            "queue-index": 0, "vring-num": 128, "vring-avail": 0x1000, "inuse": in_flight, "last-avail-idx": taken,
            "used-idx": used, "signalled-used": told, "signalled-used-valid": true,
        });
        Queue { put: Some(put), ..Queue::read(&status).expect("all is there") }
    }

    #[test]
    fn counters_say_where_requests_are() {
        let disk = device("virtio-blk");
        assert_eq!((disk.state, disk.event_index, disk.queues), (State::Driven, true, 3));
        let name = "virtio-blk /machine/peripheral/x queue 0";
        for (queue, said) in [
            (queue(17, 17, 0, 17, 17), vec![]),
            (
                queue(17, 14, 3, 14, 17),
                vec![format!("{name}: 3 requests are in flight inside QEMU (it has taken 17 and finished 14)")],
            ),
            (
                queue(65535, 65535, 0, 65535, 1),
                vec![format!(
                    "{name}: 2 requests that the guest has put there are not taken by QEMU, which may not have been notified \
                     (avail 1, taken 65535)"
                )],
            ),
            (
                queue(5, 5, 0, 4, 5),
                vec![format!("{name}: QEMU has finished 1 request, and has not told the guest (used 5, told 4)")],
            ),
            // What is no counter of a queue of this size was not read right.
            (queue(5, 5, 0, 5, 500), vec![]),
        ] {
            assert_eq!(disk.judge(&queue), said);
        }
    }

    #[test]
    fn buffers_that_wait_for_what_comes_in_are_no_requests() {
        let port = device("virtio-serial");
        let waiting = queue(0, 0, 0, 0, 64);
        assert_eq!(port.judge(&waiting), Vec::<String>::new());
        assert!(port.line(&waiting).starts_with("queue 0 (buffers for what comes in): guest: avail 64;"));
        assert_eq!(port.judge(&Queue { index: 1, ..waiting }).len(), 1);
    }

    #[test]
    fn queues_that_are_not_set_up_or_not_qemus_are_not_judged() {
        assert_eq!(Queue::read(&json!({"queue-index": 1, "vring-avail": 0})), None);
        assert_eq!(Queue::read(&json!("what")), None);
        let packed = Device { state: State::Packed, ..device("virtio-blk") };
        assert_eq!(packed.judge(&queue(17, 14, 3, 14, 17)), Vec::<String>::new());
    }
}
