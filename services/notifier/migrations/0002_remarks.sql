-- Alerts while a run goes on are told too: each kind is something else to tell about, and more kinds may come.

ALTER TABLE notifier.notice DROP CONSTRAINT notice_about_check;
