"""Archives, by DIMSE or DICOMweb: what is pulled gets names that tell no patient, what is there is not sent again."""
