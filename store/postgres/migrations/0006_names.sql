-- What topics and events may be called, by the same rule as for all other ways in:
-- clients take some events for the protocol's own, and control characters have no place
-- in a name. Rows that are there already are let be, so that nothing has to be read.

-- To change a constraint takes the outbox for a moment: see the migration before.
SET LOCAL lock_timeout = '500ms';

ALTER TABLE sluice_outbox
  DROP CONSTRAINT sluice_topic_is_not_reserved,
  DROP CONSTRAINT sluice_event_is_not_reserved,
  DROP CONSTRAINT IF EXISTS sluice_names_have_no_control_characters,
  ADD CONSTRAINT sluice_topic_is_not_reserved
    CHECK (topic <> 'phoenix' AND NOT starts_with(topic, 'sluice:')) NOT VALID,
  ADD CONSTRAINT sluice_event_is_not_reserved
    CHECK (NOT (starts_with(event, 'phx_') OR starts_with(event, 'chan_reply_') OR starts_with(event, 'sluice_')
      OR event IN ('presence_state', 'presence_diff', 'access_token'))) NOT VALID,
  -- One expression for both names: it costs an insert a microsecond, and two cost two.
  ADD CONSTRAINT sluice_names_have_no_control_characters
    CHECK ((topic || event) !~ '[\x01-\x1f\x7f]') NOT VALID;
