-- Orthanc 1.10 binds its DICOM port to every address and cannot be told otherwise. It has no login here, so what comes
-- from another machine is not stored. (Its HTTP side has RemoteAccessAllowed = false.)
function ReceivedInstanceFilter(dicom, origin, info)
   return origin["RequestOrigin"] ~= "DicomProtocol" or origin["RemoteIp"] == "127.0.0.1"
end
