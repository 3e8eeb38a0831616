-- What topics and events may be called, by the same rule as for all other ways in:
-- clients take some events for the protocol's own, and control characters have no place
-- in a name. SQLite cannot add a constraint to a table: the messages are the names that
-- constraints would have.
CREATE TRIGGER IF NOT EXISTS sluice_outbox_topic BEFORE INSERT ON sluice_outbox
WHEN substr(new.topic, 1, 7) = 'sluice:' BEGIN
  SELECT RAISE(ABORT, 'sluice_topic_is_not_reserved');
END;

CREATE TRIGGER IF NOT EXISTS sluice_outbox_event BEFORE INSERT ON sluice_outbox
WHEN substr(new.event, 1, 11) = 'chan_reply_' OR substr(new.event, 1, 7) = 'sluice_'
  OR new.event IN ('presence_state', 'presence_diff', 'access_token') BEGIN
  SELECT RAISE(ABORT, 'sluice_event_is_not_reserved');
END;

CREATE TRIGGER IF NOT EXISTS sluice_outbox_topic_characters BEFORE INSERT ON sluice_outbox
WHEN new.topic GLOB '*[' || char(1) || '-' || char(31) || char(127) || ']*' BEGIN
  SELECT RAISE(ABORT, 'sluice_topic_has_no_control_characters');
END;

CREATE TRIGGER IF NOT EXISTS sluice_outbox_event_characters BEFORE INSERT ON sluice_outbox
WHEN new.event GLOB '*[' || char(1) || '-' || char(31) || char(127) || ']*' BEGIN
  SELECT RAISE(ABORT, 'sluice_event_has_no_control_characters');
END;
