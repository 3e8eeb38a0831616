-- Names of which each is one process's at a time, for a term that it renews: those of
-- nodes, and of roles that one node has. Each statement on them stands alone, so that
-- they work through a pooler of transactions, where an advisory lock would not.

-- The times are this server's. The fence grows with each holder, and is drawn from the
-- clock: rows that a restored backup, or a standby that lagged, does not have would
-- otherwise have it begin where it has been. What is given back has no holder; its row
-- stays, as a cursor's does.
CREATE TABLE sluice_leases (
  name text PRIMARY KEY,
  holder text NOT NULL, -- empty: nobody's
  fence bigint NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
  since timestamptz NOT NULL DEFAULT clock_timestamp(),
  until timestamptz NOT NULL
) WITH (fillfactor = 50); -- a row is renewed within its page
