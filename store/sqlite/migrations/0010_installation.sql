-- What tells this installation from all others, whatever they are called, as a UUID of
-- random digits (RFC 9562, section 5.4). It stays for good, in backups too.
ALTER TABLE sluice_meta ADD COLUMN installation TEXT NOT NULL DEFAULT '';
UPDATE sluice_meta SET installation = lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-'
  || substr('89AB', 1 + (random() & 3), 1) || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6)));
