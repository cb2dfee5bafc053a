-- What runs taught is a ratio of what they took to what is calculated. Both changed: a training on a CPU takes half the
-- time and memory that it took, and more is counted on. The next run of each kind teaches anew.

DELETE FROM scheduler.calibration;
