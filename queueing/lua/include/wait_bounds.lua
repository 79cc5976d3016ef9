-- Up to where each count of waits goes, ms.
local WAIT_BOUNDS_MS = { 100, 500, 1000, 5000, 15000, 60000, 300000, 900000, 3600000, 21600000 }
