//! Writes tables with the gpt crate.

use std::fmt;
use std::io::{self, Read, Seek, Write};

use ::gpt::disk::LogicalBlockSize;
use ::gpt::partition_types::{OperatingSystem, Type};
use uuid::Uuid;

use super::{Gpt, header::SIZE};
use crate::format::{Guid, SectorSize};

impl Gpt {
    /// Writes one copy of the table to a disk: its entries at `partition_entry_lba`, then its header at `my_lba`, in a
    /// sector that is otherwise zero. Computes the checksums; ignores the ones in `header`, its size and its revision.
    pub fn write(&self, disk: &mut (impl Read + Write + Seek + fmt::Debug)) -> io::Result<()> {
        let sector = match self.sector {
            SectorSize::S512 => LogicalBlockSize::Lb512,
            SectorSize::S4096 => LogicalBlockSize::Lb4096,
        };
        let header = &self.header;
        let (start, size) = (header.partition_entry_lba.0, header.size_of_partition_entry);
        let count = header.number_of_partition_entries.into();
        ::gpt::partition::Partition::write_zero_entries_to_device(disk, 0, count, start, sector, size)?;
        for partition in &self.partitions {
            let entry = ::gpt::partition::Partition {
                part_type_guid: Type { guid: uuid(partition.type_guid), os: OperatingSystem::None },
                part_guid: uuid(partition.unique_guid),
                first_lba: partition.starting_lba.0,
                last_lba: partition.ending_lba.0,
                flags: partition.attributes,
                name: partition.name.clone(),
            };
            let index = partition.number.checked_sub(1).ok_or(io::ErrorKind::InvalidInput)?;
            entry.write_to_device(disk, index.into(), start, sector, size)?;
        }
        let mut header = ::gpt::header::Header {
            signature: "EFI PART".to_owned(),
            revision: (1, 0),
            header_size_le: SIZE,
            crc32: 0,
            reserved: 0,
            current_lba: header.my_lba.0,
            backup_lba: header.alternate_lba.0,
            first_usable: header.first_usable_lba.0,
            last_usable: header.last_usable_lba.0,
            disk_guid: uuid(header.disk_guid),
            part_start: start,
            num_parts: header.number_of_partition_entries,
            part_size: size,
            crc32_parts: 0,
        };
        let written = if header.current_lba < header.backup_lba {
            header.write_primary(disk, sector)
        } else {
            header.write_backup(disk, sector)
        };
        written.map(drop).map_err(io::Error::other)
    }
}

fn uuid(guid: Guid) -> Uuid {
    Uuid::from_bytes_le(guid.0)
}
