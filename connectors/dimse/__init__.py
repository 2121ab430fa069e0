"""DICOM messages over associations (PS3.7, PS3.8): what is told to us, and nothing else."""
