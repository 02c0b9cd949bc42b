//! State of a virtio device's queues, as QEMU reports it, and its interpretation (virtio 1.2, 2.7; QEMU
//! `hw/virtio/virtio-qmp.c`).
//!
//! Four free-running 16-bit counters show the progress of requests: *avail* (the guest has put the request into the
//! queue, in guest memory), *last avail* (QEMU has taken it), *used* (QEMU has finished it), *signalled* (QEMU has
//! notified the guest). Guest memory is read as little endian, which is correct for virtio 1.0 and on x86.

use serde_json::Value;

/// Virtio device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    /// QEMU's name of the device, such as `virtio-blk`.
    pub(crate) name: String,
    /// QOM path.
    pub(crate) path: String,
    /// Number of queues.
    pub(crate) queues: u64,
    /// Device state.
    pub(crate) state: State,
    /// True if it uses event indexes.
    pub(crate) event_index: bool,
}

/// State of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// No driver has initialized it.
    Unused,
    /// A driver uses it.
    Driven,
    /// A driver uses it with packed queues, whose counters have another meaning.
    Packed,
    /// The host's kernel or another process handles its queues.
    Elsewhere,
    /// The device is broken after a protocol error of its driver, and has stopped.
    Broken,
}

/// Counters of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Queue {
    /// Queue index.
    pub(crate) index: u64,
    /// Number of entries.
    pub(crate) size: u16,
    /// Guest physical address of the available ring.
    pub(crate) avail_at: u64,
    /// Number of requests that QEMU has taken and not finished.
    pub(crate) in_flight: u16,
    /// Number of requests that QEMU has taken.
    pub(crate) taken: u16,
    /// Number of requests that QEMU has finished.
    pub(crate) used: u16,
    /// Value of `used` at the last notification of the guest.
    pub(crate) signalled_used: Option<u16>,
    /// Number of requests made available, from guest memory.
    pub(crate) put: Option<u16>,
    /// `used_event` from guest memory: the guest requests a notification from this index on.
    pub(crate) wants: Option<u16>,
}

/// Purpose of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Requests, each of which should be completed soon.
    Requests,
    /// Buffers for incoming data, which may wait for any length of time.
    Buffers,
}

impl Device {
    /// Parses the reply to `x-query-virtio-status`.
    pub(crate) fn read(path: &str, status: &Value) -> Self {
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

    /// Describes the device state, if it indicates a problem.
    pub(crate) fn sentence(&self) -> Option<String> {
        match self.state {
            State::Broken => Some(format!("{}: {}", self.title(), self.state.phrase())),
            State::Unused | State::Driven | State::Packed | State::Elsewhere => None,
        }
    }

    /// Title of the device in reports.
    pub(crate) fn title(&self) -> String {
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

    /// Interprets the counters of a queue: one sentence per finding, the most significant first; empty if no request is
    /// pending.
    pub(crate) fn judge(&self, queue: &Queue) -> Vec<String> {
        let name = format!("{} queue {}", self.title(), queue.index);
        let mut said = Vec::new();
        if self.purpose(queue.index) == Purpose::Buffers || !self.counts() {
            return said;
        }
        let Queue { in_flight, taken, used, signalled_used, put, .. } = *queue;
        if in_flight > 0 {
            let (requests, are) = requests(in_flight);
            said.push(format!("{name}: {requests} {are} in flight in QEMU (taken {taken}, finished {used})"));
        }
        if let Some(put) = put.filter(|put| put.wrapping_sub(taken) <= queue.size && *put != taken) {
            let (requests, are) = requests(put.wrapping_sub(taken));
            said.push(format!(
                "{name}: {requests} in the available ring {are} not taken by QEMU, possibly for lack of a notification \
                 (avail {put}, taken {taken})"
            ));
        }
        if let Some(signalled_used) = signalled_used.filter(|signalled_used| *signalled_used != used) {
            let (requests, _) = requests(used.wrapping_sub(signalled_used));
            said.push(format!(
                "{name}: QEMU has finished {requests} without notifying the guest (used {used}, notified {signalled_used})"
            ));
        }
        said
    }

    /// Returns true if the counters have the meaning described above.
    pub(crate) fn counts(&self) -> bool {
        match self.state {
            State::Driven => true,
            State::Unused | State::Packed | State::Elsewhere | State::Broken => false,
        }
    }

    /// Formats the report line of a queue.
    pub(crate) fn line(&self, queue: &Queue) -> String {
        let counter = |value: Option<u16>| value.map_or_else(|| "?".to_owned(), |value| value.to_string());
        let what = match self.purpose(queue.index) {
            Purpose::Requests => "",
            Purpose::Buffers => " (receive buffers)",
        };
        let wants = queue.wants.map(|wants| format!(", used_event {wants}")).unwrap_or_default();
        format!(
            "queue {}{what}: guest: avail {}{wants}; QEMU: taken {}, in flight {}, used {}, notified {}; {} entries",
            queue.index,
            counter(queue.put),
            queue.taken,
            queue.in_flight,
            queue.used,
            counter(queue.signalled_used),
            queue.size
        )
    }
}

impl State {
    /// Description of the state.
    pub(crate) const fn phrase(self) -> &'static str {
        match self {
            Self::Unused => "not initialized by a driver",
            Self::Driven => "in use by its driver",
            Self::Packed => "in use by its driver with packed queues, which are not interpreted",
            Self::Elsewhere => "its queues are handled by vhost, invisible to QEMU",
            Self::Broken => "broken: the driver violated the virtio protocol, and QEMU has stopped the device",
        }
    }
}

/// Returns `1 request`, and the matching verb.
fn requests(count: u16) -> (String, &'static str) {
    if count == 1 { ("1 request".to_owned(), "is") } else { (format!("{count} requests"), "are") }
}

impl Queue {
    /// Parses the reply to `x-query-virtio-queue-status`; `None` if the queue is not initialized.
    pub(crate) fn read(status: &Value) -> Option<Self> {
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
            signalled_used: index("signalled-used").filter(|_| is_told),
            put: None,
            wants: None,
        })
    }

    /// Guest physical address of the available index, after 16 bits of flags.
    pub(crate) fn put_at(&self) -> u64 {
        self.avail_at.wrapping_add(2)
    }

    /// Guest physical address of `used_event`, after the available ring.
    pub(crate) fn wants_at(&self) -> u64 {
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

    fn queue(taken: u16, used: u16, in_flight: u16, signalled_used: u16, put: u16) -> Queue {
        let status = json!({
            "queue-index": 0, "vring-num": 128, "vring-avail": 0x1000, "inuse": in_flight, "last-avail-idx": taken,
            "used-idx": used, "signalled-used": signalled_used, "signalled-used-valid": true,
        });
        Queue { put: Some(put), ..Queue::read(&status).expect("all is there") }
    }

    #[test]
    fn counters_show_the_progress_of_requests() {
        let disk = device("virtio-blk");
        assert_eq!((disk.state, disk.event_index, disk.queues), (State::Driven, true, 3));
        let name = "virtio-blk /machine/peripheral/x queue 0";
        for (queue, said) in [
            (queue(17, 17, 0, 17, 17), vec![]),
            (
                queue(17, 14, 3, 14, 17),
                vec![format!("{name}: 3 requests are in flight in QEMU (taken 17, finished 14)")],
            ),
            (
                queue(65535, 65535, 0, 65535, 1),
                vec![format!(
                    "{name}: 2 requests in the available ring are not taken by QEMU, possibly for lack of a notification \
                     (avail 1, taken 65535)"
                )],
            ),
            (
                queue(5, 5, 0, 4, 5),
                vec![format!("{name}: QEMU has finished 1 request without notifying the guest (used 5, notified 4)")],
            ),
            // A value that is impossible for a queue of this size is ignored.
            (queue(5, 5, 0, 5, 500), vec![]),
        ] {
            assert_eq!(disk.judge(&queue), said);
        }
    }

    #[test]
    fn receive_buffers_do_not_count_as_requests() {
        let port = device("virtio-serial");
        let waiting = queue(0, 0, 0, 0, 64);
        assert_eq!(port.judge(&waiting), Vec::<String>::new());
        assert!(port.line(&waiting).starts_with("queue 0 (receive buffers): guest: avail 64;"));
        assert_eq!(port.judge(&Queue { index: 1, ..waiting }).len(), 1);
    }

    #[test]
    fn uninitialized_and_packed_queues_are_not_interpreted() {
        assert_eq!(Queue::read(&json!({"queue-index": 1, "vring-avail": 0})), None);
        assert_eq!(Queue::read(&json!("what")), None);
        let packed = Device { state: State::Packed, ..device("virtio-blk") };
        assert_eq!(packed.judge(&queue(17, 14, 3, 14, 17)), Vec::<String>::new());
    }
}
