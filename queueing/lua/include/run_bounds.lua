-- Up to where each count of runs goes, ms.
local RUN_BOUNDS_MS = { 10, 50, 100, 500, 1000, 5000, 15000, 60000, 300000, 900000 }
